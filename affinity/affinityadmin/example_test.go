package affinityadmin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityadmin"
	"github.com/llmaffinity/llmaffinity/selector"
)

// A gateway has the page on a port of its own.
func Example() {
	accounts := []string{"account-1", "account-2"}
	log := affinityadmin.NewLog(0)
	lb, err := affinity.Wrap(selector.RoundRobin[string](), func(a string) string { return a }, &affinity.Options[string]{OnEvent: log.Observe})
	if err != nil {
		panic(err)
	}
	defer lb.Close()
	page, err := affinityadmin.New(lb, &affinityadmin.Options[string]{Auths: func() []string { return accounts }, Log: log})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(page) // or http.ListenAndServe("127.0.0.1:8081", page)
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Content-Type"))
	// Output: 200 OK text/html; charset=utf-8
}
