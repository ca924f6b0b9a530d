package harmony

import (
	"bytes"
	"fmt"
	"strings"
)

// maxSchemaText bounds the rendered parameters of one function in bytes: far above what fits a context, and below what
// indentation can make of a hostile schema.
const maxSchemaText = 1 << 20

// schemaText renders a JSON Schema as the TypeScript-like type the models know. It is faithful to the reference
// renderer, oddities included: what that one does not look at (anyOf, allOf, $ref, const, formats and bounds) becomes
// "any" or is left out. NormalizeSchema brings schemas into the forms that survive.
func schemaText(v *jsonValue) (string, error) {
	var w schemaWriter
	if err := w.schema(v, 0); err != nil {
		return "", err
	}
	return string(w.out), nil
}

// A schemaWriter collects the text of one schema. Indents are counts of spaces.
type schemaWriter struct{ out []byte }

func (w *schemaWriter) put(indent int, texts ...string) {
	for range indent {
		w.out = append(w.out, ' ')
	}
	for _, s := range texts {
		w.out = append(w.out, s...)
	}
}

// schema writes the type of v; lines after the first are indented.
func (w *schemaWriter) schema(v *jsonValue, indent int) error {
	if len(w.out) > maxSchemaText {
		return fmt.Errorf("schema becomes more than %d bytes of prompt", maxSchemaText)
	}
	if oneOf := v.get("oneOf"); oneOf.is(jsonArray) {
		return w.union(oneOf.items, indent)
	}
	kind := v.get("type")
	if kind.is(jsonArray) {
		w.typeList(kind.strings())
		return nil
	}
	name, _ := kind.str()
	switch name {
	case "object":
		return w.object(v, indent)
	case "array":
		items := v.get("items")
		if items == nil {
			w.put(0, "Array<any>")
			return nil
		}
		if err := w.schema(items, indent); err != nil {
			return err
		}
		w.put(0, "[]")
	case "string":
		w.stringType(v.get("enum").strings())
	case "number", "boolean":
		w.put(0, name)
	case "integer":
		w.put(0, "number")
	default:
		w.put(0, "any")
	}
	return nil
}

// typeList writes the alternatives of a type that is a list of names.
func (w *schemaWriter) typeList(names []string) {
	if len(names) == 0 {
		w.put(0, "any")
	}
	for i, name := range names {
		if i > 0 {
			w.put(0, " | ")
		}
		if name == "integer" {
			name = "number"
		}
		w.put(0, name)
	}
}

func (w *schemaWriter) stringType(values []string) {
	if len(values) == 0 {
		w.put(0, "string")
	}
	for i, value := range values {
		if i > 0 {
			w.put(0, " | ")
		}
		w.put(0, `"`, value, `"`)
	}
}

// union writes the variants of a schema that is a oneOf, each on a line of its own.
func (w *schemaWriter) union(variants []*jsonValue, indent int) error {
	for _, v := range variants {
		w.put(0, "\n")
		w.put(indent, " | ")
		if err := w.nullable(v, indent+3); err != nil {
			return err
		}
		var comments []string
		if d, ok := v.get("description").str(); ok {
			comments = append(comments, d)
		}
		if d := v.get("default"); d.is(jsonString) && isEnum(v) {
			// Only here is a string of an enum quoted and escaped.
			comments = append(comments, "default: "+string(d.appendCompact(nil)))
		} else if d != nil {
			comments = append(comments, defaultText(v))
		}
		w.trailing(comments)
	}
	return nil
}

// nullable writes the type of v, and that it may be null if the type does not mention null at all.
func (w *schemaWriter) nullable(v *jsonValue, indent int) error {
	from := len(w.out)
	if err := w.schema(v, indent); err != nil {
		return err
	}
	if v.get("nullable").isTrue() && !bytes.Contains(w.out[from:], []byte("null")) {
		w.put(0, " | null")
	}
	return nil
}

func (w *schemaWriter) object(v *jsonValue, indent int) error {
	if d, ok := v.get("description").str(); ok {
		w.put(indent, "// ", d, "\n")
	}
	w.put(0, "{\n")
	required := map[string]bool{}
	for _, name := range v.get("required").strings() {
		required[name] = true
	}
	if p := v.get("properties"); p.is(jsonObject) {
		for _, m := range p.members {
			mark := "?"
			if required[m.key] {
				mark = ""
			}
			if err := w.property(m.key+mark, m.value, indent); err != nil {
				return err
			}
		}
	}
	w.put(indent, "}")
	return nil
}

// property writes one property with the comments above it; name already has its question mark.
func (w *schemaWriter) property(name string, v *jsonValue, indent int) error {
	if title, ok := v.get("title").str(); ok {
		w.put(indent, "// ", title, "\n")
		w.put(indent, "//\n")
	}
	description, described := v.get("description").str()
	if described && v.get("oneOf") == nil {
		w.put(indent, "// ", description, "\n")
	}
	if ex := v.get("examples"); ex.is(jsonArray) && len(ex.items) > 0 {
		w.put(indent, "// Examples:\n")
		for _, s := range ex.strings() {
			w.put(indent, `// - "`, s, "\"\n")
		}
	}
	if v.get("oneOf").is(jsonArray) {
		return w.unionProperty(name, v, indent)
	}
	w.put(indent, name, ": ")
	if err := w.nullable(v, indent+4); err != nil {
		return err
	}
	w.put(0, ",")
	if v.get("default") != nil && v.get("oneOf") == nil {
		w.put(0, " // ", defaultText(v))
	}
	w.put(0, "\n")
	return nil
}

// unionProperty writes a property whose type is a oneOf. The description appears once: above the property, or behind the
// first variant if that one says the same.
func (w *schemaWriter) unionProperty(name string, v *jsonValue, indent int) error {
	variants := v.get("oneOf").items
	description, described := v.get("description").str()
	above := described
	if described && len(variants) > 0 {
		first, ok := variants[0].get("description").str()
		above = !ok || first != description
	}
	if above {
		w.put(indent, "// ", description, "\n")
	}
	if v.get("default") != nil {
		w.put(indent, "// ", defaultText(v), "\n")
	}
	w.put(indent, name, ":\n")
	for i, variant := range variants {
		w.put(indent, " | ")
		if err := w.nullable(variant, indent+3); err != nil {
			return err
		}
		var comments []string
		d, ok := variant.get("description").str()
		if ok && !(i == 0 && above) && !(described && d == description) {
			comments = append(comments, d)
		}
		if variant.get("default") != nil {
			comments = append(comments, defaultText(variant))
		}
		w.trailing(comments)
		w.put(0, "\n")
	}
	w.put(indent, ",\n")
	return nil
}

// trailing writes the comments behind a type, if there are any.
func (w *schemaWriter) trailing(comments []string) {
	if len(comments) > 0 {
		w.put(0, " // ", strings.Join(comments, " "))
	}
}

// defaultText says what the default of v is: a string in quotes and not escaped, unless it is one of an enum, anything
// else as compact JSON.
func defaultText(v *jsonValue) string {
	d := v.get("default")
	s, ok := d.str()
	switch {
	case !ok:
		return "default: " + string(d.appendCompact(nil))
	case isEnum(v):
		return "default: " + s
	default:
		return `default: "` + s + `"`
	}
}
