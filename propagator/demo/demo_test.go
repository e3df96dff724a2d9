package demo

import (
	"testing"
)

func TestRun(t *testing.T) {
	report, err := Run(t.Context(), Options{Progress: t.Output(), Terminal: false})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.writeText(t.Output()); err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Error("a promise does not hold")
	}
}
