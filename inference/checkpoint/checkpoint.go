// Package checkpoint reads model files.
package checkpoint
