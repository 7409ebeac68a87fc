package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/go-kratos/kratos/v2/registry"
)

// service is the name of the service whose instances serve.
const service = "llm"

// instances is a discovery of Kratos: a list of addresses. A real gateway has etcd, Consul or
// Kubernetes in its place.
type instances struct {
	mu      sync.Mutex
	list    []*registry.ServiceInstance
	version int
	changed chan struct{} // closed when there is a new version
}

func newInstances() *instances { return &instances{changed: make(chan struct{})} }

// set replaces the addresses.
func (l *instances) set(addresses []string) error {
	var list []*registry.ServiceInstance
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("%q is not an address of an instance, such as http://10.0.0.1:8000", a)
		}
		list = append(list, &registry.ServiceInstance{ID: u.Host, Name: service, Endpoints: []string{u.String()}})
	}
	if len(list) == 0 {
		return fmt.Errorf("there are no instances")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = list
	l.version++
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// read reads the addresses in a file, one a line.
func (l *instances) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return l.set(strings.Fields(string(text)))
}

// GetService returns the present instances.
func (l *instances) GetService(context.Context, string) ([]*registry.ServiceInstance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list, nil
}

// Watch watches the instances and all changes of them.
func (l *instances) Watch(ctx context.Context, _ string) (registry.Watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	return &watcher{list: l, ctx: ctx, cancel: cancel}, nil
}

type watcher struct {
	list   *instances
	ctx    context.Context
	cancel context.CancelFunc
	seen   int
}

// Next returns the instances when there is a version that the watcher has not seen.
func (w *watcher) Next() ([]*registry.ServiceInstance, error) {
	for {
		w.list.mu.Lock()
		list, version, changed := w.list.list, w.list.version, w.list.changed
		w.list.mu.Unlock()
		if version != w.seen {
			w.seen = version
			return list, nil
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		}
	}
}

// Stop ends the watcher.
func (w *watcher) Stop() error {
	w.cancel()
	return nil
}
