package otelhook

import "runtime/debug"

const module = "github.com/phpgao/elock"

// version is that of this module in the running program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return devel
	}
	v := ""
	if info.Main.Path == module {
		v = info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == module {
			v = m.Version
		}
	}
	if v == "" {
		return devel
	}
	return v
}

const devel = "(devel)"
