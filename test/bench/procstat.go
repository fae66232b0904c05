package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A usage is what a tree of processes has used so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// readUsage adds up a process and all its descendants.
func readUsage(pid int) (usage, error) {
	var total usage
	for _, p := range append(descendants(pid), pid) {
		cpu, err := cpuOf(p)
		if err != nil {
			return total, err
		}
		rss, err := rssOf(p)
		if err != nil {
			return total, err
		}
		total.cpu += cpu
		total.rss += rss
	}
	return total, nil
}

// cpuOf reads schedstat of every thread: nanoseconds, where stat counts in
// ticks of 10 ms. A thread that has ended is not counted; no peer ends any.
func cpuOf(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("read CPU time of process %d: it is not there", pid)
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func rssOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func descendants(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}
