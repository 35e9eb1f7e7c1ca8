package otelhook

import (
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A label is what one kind of measurement is labelled with, in the form that
// costs least to pass on. None holds a key: there is no end of keys.
type label struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

// maxLabels bounds a hook's memory where keys are made such that spaces have
// no end either.
const maxLabels = 4096

// labels makes each label once.
type labels struct {
	common []attribute.KeyValue

	mu   sync.RWMutex
	made map[labelName]*label // guarded by mu
}

type labelName struct{ space, outcome string } // without an outcome where there is none yet

func newLabels(common []attribute.KeyValue) *labels {
	return &labels{common: common, made: make(map[labelName]*label)}
}

func (ls *labels) of(space, outcome string) *label {
	name := labelName{space, outcome}
	ls.mu.RLock()
	l := ls.made[name]
	ls.mu.RUnlock()
	if l != nil {
		return l
	}
	attrs := append(slices.Clone(ls.common), spaceKey.String(space))
	if outcome != "" {
		attrs = append(attrs, outcomeKey.String(outcome))
	}
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	l = &label{add: []metric.AddOption{set}, record: []metric.RecordOption{set}}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.made) < maxLabels {
		ls.made[name] = l
	}
	return l
}
