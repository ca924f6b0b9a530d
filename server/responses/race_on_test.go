//go:build race

package responses_test

// manyPythons is smaller with the race detector, which makes the database and copying memory many times slower.
const manyPythons = 30
