package harmony

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxNormalized bounds a normalized schema, about in bytes, and the work it takes: references can make a small document
// mean a huge one.
const maxNormalized = 1 << 20

// NormalizeSchema brings a JSON Schema into the forms that the prompt can show, so that what generators of schemas write
// does not become "any". Keys stay in their order, and numbers are spelled as the prompt spells them.
//
//   - Local references ("#/…") are replaced by what they point to; one that leads back into itself becomes a schema without
//     constraints. Definitions are then left out.
//   - anyOf and oneOf lose their null variant. One remaining variant, or a single allOf, joins the schema around it; plain
//     types become a list of types; other variants of anyOf become oneOf.
//   - const becomes an enum of one value. An enum of strings gets the type string, properties the type object and items the
//     type array, if the type is missing.
//   - Every title and every default that is null is left out.
//
// The result is for the prompt, not for checking values. It fails on malformed JSON, on references that point nowhere, and
// on schemas that become too deep or too large.
func NormalizeSchema(schema json.RawMessage) (json.RawMessage, error) {
	root, err := parseJSON(schema)
	if err != nil {
		return nil, err
	}
	n := normalizer{root: root, left: maxNormalized, open: []string{"#"}}
	v, err := n.schema(root, 1)
	if err != nil {
		return nil, err
	}
	return v.appendCompact(nil), nil
}

// A normalizer rewrites the schemas of one document. It builds new values and leaves the document as it is.
type normalizer struct {
	root *jsonValue
	left int      // of maxNormalized
	open []string // the references that the current schema lies behind
}

// schema returns v in normal form; depth is the nesting of the result in its document.
func (n *normalizer) schema(v *jsonValue, depth int) (*jsonValue, error) {
	if !v.is(jsonObject) {
		return v, n.spend(v.size())
	}
	if depth >= maxJSONDepth {
		return nil, fmt.Errorf("schema nests deeper than %d levels once its references are resolved", maxJSONDepth-1)
	}
	behind := len(n.open)
	defer func() { n.open = n.open[:behind] }()
	v, err := n.flatten(v)
	if err != nil {
		return nil, err
	}
	out := &jsonValue{kind: jsonObject}
	for _, m := range v.members {
		m, keep, err := n.member(v, m, depth)
		if err != nil {
			return nil, err
		}
		if keep {
			out.members = append(out.members, m)
		}
	}
	if name := impliedType(out); name != "" {
		out.members = append(out.members, jsonMember{"type", &jsonValue{kind: jsonString, text: name}})
	}
	return out, nil
}

// member returns the member m of the schema v in normal form, and whether it is kept.
func (n *normalizer) member(v *jsonValue, m jsonMember, depth int) (_ jsonMember, keep bool, err error) {
	switch m.key {
	case "title", "$defs", "definitions":
		return m, false, nil
	case "default":
		if m.value.is(jsonNull) {
			return m, false, nil
		}
	case "enum":
		if v.get("const") != nil {
			return m, false, nil
		}
	case "const":
		m = jsonMember{"enum", &jsonValue{kind: jsonArray, items: []*jsonValue{m.value}}}
	case "items":
		m.value, err = n.schema(m.value, depth+1)
		return m, true, err
	case "oneOf", "properties":
		m.value, err = n.each(m.value, depth+1)
		return m, true, err
	}
	return m, true, n.spend(m.value.size())
}

// each returns the object or array v with its values in normal form.
func (n *normalizer) each(v *jsonValue, depth int) (*jsonValue, error) {
	if err := n.spend(len(v.text) + 2); err != nil {
		return nil, err
	}
	out := &jsonValue{kind: v.kind, text: v.text}
	for _, m := range v.members {
		value, err := n.schema(m.value, depth+1)
		if err == nil {
			err = n.spend(len(m.key) + 4)
		}
		if err != nil {
			return nil, err
		}
		out.members = append(out.members, jsonMember{m.key, value})
	}
	for _, item := range v.items {
		item, err := n.schema(item, depth+1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

// flatten resolves what stands in front of the schema itself: a reference, a single allOf, alternatives with null.
func (n *normalizer) flatten(v *jsonValue) (*jsonValue, error) {
	for {
		size := 2
		for _, m := range v.members {
			size += len(m.key) + 4
		}
		if err := n.spend(size); err != nil {
			return nil, err
		}
		next, err := n.flattenOnce(v)
		if err != nil || next == v {
			return v, err
		}
		v = next
	}
}

// spend takes bytes from what the result may still hold.
func (n *normalizer) spend(bytes int) error {
	if n.left -= bytes; n.left < 0 {
		return fmt.Errorf("schema becomes more than %d bytes once its references are resolved", maxNormalized)
	}
	return nil
}

func (n *normalizer) flattenOnce(v *jsonValue) (*jsonValue, error) {
	if ref, ok := v.get("$ref").str(); ok && (ref == "#" || strings.HasPrefix(ref, "#/")) {
		rest := without(v, "$ref")
		if slices.Contains(n.open, ref) {
			return rest, nil
		}
		target, err := n.lookup(ref)
		if err != nil {
			return nil, err
		}
		n.open = append(n.open, ref)
		return merge(target, rest), nil
	}
	if all := v.get("allOf"); all.is(jsonArray) && len(all.items) == 1 && all.items[0].is(jsonObject) {
		return merge(all.items[0], without(v, "allOf")), nil
	}
	if v.get("type") != nil || v.get("properties") != nil {
		return v, nil // the alternatives only refine what is shown
	}
	if one := v.get("oneOf"); one.is(jsonArray) && slices.ContainsFunc(one.items, isNullType) {
		return alternatives(v, "oneOf"), nil
	}
	if v.get("anyOf").is(jsonArray) && v.get("oneOf") == nil {
		return alternatives(v, "anyOf"), nil
	}
	return v, nil
}

// alternatives replaces the array key of v, an anyOf or oneOf, by the simplest thing that says the same but for null.
func alternatives(v *jsonValue, key string) *jsonValue {
	variants := slices.DeleteFunc(slices.Clone(v.get(key).items), isNullType)
	rest := without(v, key)
	if len(variants) == 1 && variants[0].is(jsonObject) {
		return merge(variants[0], rest)
	}
	types := &jsonValue{kind: jsonArray}
	for _, variant := range variants {
		if !isPlainType(variant) {
			return with(rest, "oneOf", &jsonValue{kind: jsonArray, items: variants})
		}
		types.items = append(types.items, variant.get("type"))
	}
	if len(variants) == 0 {
		return with(rest, "type", &jsonValue{kind: jsonString, text: "null"})
	}
	return with(rest, "type", types)
}

// isNullType reports whether the schema v permits null and nothing else.
func isNullType(v *jsonValue) bool {
	name, _ := v.get("type").str()
	return name == "null" || v.get("const").is(jsonNull)
}

// isPlainType reports whether the schema v says no more than the name of a type.
func isPlainType(v *jsonValue) bool {
	if _, ok := v.get("type").str(); !ok {
		return false
	}
	for _, m := range v.members {
		if m.key != "type" && m.key != "title" {
			return false
		}
	}
	return true
}

// impliedType names the type of a schema that does not say its type but cannot be of another.
func impliedType(v *jsonValue) string {
	enum := v.get("enum")
	switch {
	case v.get("type") != nil || v.get("oneOf") != nil:
		return ""
	case v.get("properties").is(jsonObject):
		return "object"
	case v.get("items") != nil:
		return "array"
	case enum.is(jsonArray) && len(enum.items) > 0 && len(enum.strings()) == len(enum.items):
		return "string"
	default:
		return ""
	}
}

// lookup returns what the JSON pointer in ref points to.
func (n *normalizer) lookup(ref string) (*jsonValue, error) {
	pointer, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil {
		return nil, fmt.Errorf("$ref %q is not a JSON pointer: %w", ref, err)
	}
	v := n.root
	for _, key := range strings.Split(pointer, "/")[1:] {
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		if v.is(jsonArray) {
			i, err := strconv.ParseUint(key, 10, 31)
			if err != nil || int(i) >= len(v.items) {
				return nil, fmt.Errorf("$ref %q points nowhere", ref)
			}
			v = v.items[i]
			continue
		}
		if v = v.get(key); v == nil {
			return nil, fmt.Errorf("$ref %q points nowhere", ref)
		}
	}
	return v, nil
}

// merge returns base with the members of over, which count where both have the key. A base that is not an object, such as
// true, adds nothing.
func merge(base, over *jsonValue) *jsonValue {
	out := &jsonValue{kind: jsonObject}
	keys := make(map[string]bool, len(over.members))
	for _, m := range over.members {
		keys[m.key] = true
	}
	for _, m := range base.members {
		if !keys[m.key] {
			out.members = append(out.members, m)
		}
	}
	out.members = append(out.members, over.members...)
	return out
}

// without returns the object v without a member.
func without(v *jsonValue, key string) *jsonValue {
	out := &jsonValue{kind: jsonObject}
	for _, m := range v.members {
		if m.key != key {
			out.members = append(out.members, m)
		}
	}
	return out
}

// with returns the object v with one more member.
func with(v *jsonValue, key string, value *jsonValue) *jsonValue {
	return &jsonValue{kind: jsonObject, members: append(slices.Clip(v.members), jsonMember{key, value})}
}
