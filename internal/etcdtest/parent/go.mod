module github.com/phpgao/elock/internal/etcdtest/parent

go 1.26.0
