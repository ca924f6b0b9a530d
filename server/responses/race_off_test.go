//go:build !race

package responses_test

// manyPythons is how many interpreters TestManyRealPythons runs.
const manyPythons = 200
