package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An expr is part of a query. eval computes it for one row, or for a group: its aggregates over all rows, everything else
// for the first.
type expr interface {
	eval(g group) (value, error)
}

// A group is one row, or the rows of a group. A group without rows has NULL in every column.
type group struct {
	rows    [][]value
	grouped bool
	columns []string
}

type (
	literal    struct{ v value }
	columnExpr int
	aliasExpr  string
	notExpr    struct{ e expr }
	isNullExpr struct{ e expr }
	binaryExpr struct {
		op          string
		left, right expr
	}
	betweenExpr struct{ e, low, high expr }
	inExpr      struct {
		e   expr
		all []expr
	}
	functionExpr struct {
		name     string
		distinct bool
		args     []expr
	}
)

func (e literal) eval(group) (value, error) { return e.v, nil }

func (e columnExpr) eval(g group) (value, error) {
	if len(g.rows) == 0 {
		return nil, nil
	}
	return g.rows[0][e], nil
}

func (e aliasExpr) eval(g group) (value, error) {
	return nil, fmt.Errorf("sql: there is no column %s; there are %s", string(e), strings.Join(g.columns, ", "))
}

func (e notExpr) eval(g group) (value, error) {
	v, err := e.e.eval(g)
	if v == nil || err != nil {
		return nil, err
	}
	return !truth(v), nil
}

func (e isNullExpr) eval(g group) (value, error) {
	v, err := e.e.eval(g)
	return v == nil, err
}

func (e binaryExpr) eval(g group) (value, error) {
	a, err := e.left.eval(g)
	if err != nil {
		return nil, err
	}
	b, err := e.right.eval(g)
	if err != nil {
		return nil, err
	}
	switch e.op {
	case "and", "or":
		return logic(e.op == "or", a, b), nil
	}
	if a == nil || b == nil {
		return nil, nil
	}
	switch e.op {
	case "=", "<>", "!=", "<", "<=", ">", ">=":
		return related(e.op, a, b), nil
	case "like":
		return like([]rune(strings.ToLower(text(a))), []rune(strings.ToLower(text(b)))), nil
	case "||":
		return text(a) + text(b), nil
	}
	return arithmetic(e.op, a, b)
}

// related tells whether a comparison holds, or NULL if a side is unknown.
func related(op string, a, b value) value {
	if a == nil || b == nil {
		return nil
	}
	c := compare(a, b)
	switch op {
	case "=":
		return c == 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	default:
		return c != 0
	}
}

func (e betweenExpr) eval(g group) (value, error) {
	vs, err := evalAll(g, e.e, e.low, e.high)
	if err != nil {
		return nil, err
	}
	return logic(false, related(">=", vs[0], vs[1]), related("<=", vs[0], vs[2])), nil
}

func (e inExpr) eval(g group) (value, error) {
	v, err := e.e.eval(g)
	if err != nil {
		return nil, err
	}
	var found value = false
	for _, one := range e.all {
		w, err := one.eval(g)
		if err != nil {
			return nil, err
		}
		found = logic(true, found, related("=", v, w))
	}
	return found, nil
}

func evalAll(g group, all ...expr) ([]value, error) {
	vs := make([]value, len(all))
	for i, e := range all {
		v, err := e.eval(g)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

// logic is SQL's: what is unknown stays so unless the other side decides.
func logic(or bool, a, b value) value {
	for _, v := range []value{a, b} {
		if v != nil && truth(v) == or {
			return or
		}
	}
	if a == nil || b == nil {
		return nil
	}
	return !or
}

func arithmetic(op string, a, b value) (value, error) {
	x, okX := a.(float64)
	y, okY := b.(float64)
	if !okX || !okY {
		return nil, fmt.Errorf("sql: %s %s %s: both sides must be numbers", text(a), op, text(b))
	}
	var v float64
	switch op {
	case "+":
		v = x + y
	case "-":
		v = x - y
	case "*":
		v = x * y
	case "/":
		v = x / y
	case "%":
		v = math.Mod(x, y)
	default:
		return nil, fmt.Errorf("sql: unknown operator %s", op)
	}
	return finite(v), nil
}

// finite makes NULL of what JSON cannot hold, a division by zero first of all.
func finite(v float64) value {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}

// like matches % and _. It keeps the last % to come back to, so its time is bounded by the product of the lengths.
func like(s, pattern []rune) bool {
	i, j, star, back := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '%':
			star, back = j, i
			j++
		case j < len(pattern) && (pattern[j] == '_' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			back++
			i, j = back, star+1
		default:
			return false
		}
	}
	return strings.Trim(string(pattern[j:]), "%") == ""
}

func (e functionExpr) eval(g group) (value, error) {
	if functions[e.name] == aggregate {
		return e.aggregate(g)
	}
	args, err := evalAll(g, e.args...)
	if err != nil {
		return nil, err
	}
	if e.name == "coalesce" {
		for _, v := range args {
			if v != nil {
				return v, nil
			}
		}
		return nil, nil
	}
	if slices.Contains(args, nil) {
		return nil, nil
	}
	switch e.name {
	case "lower":
		return strings.ToLower(text(args[0])), nil
	case "upper":
		return strings.ToUpper(text(args[0])), nil
	case "length":
		return float64(utf8.RuneCountInString(text(args[0]))), nil
	}
	x, ok := args[0].(float64)
	if !ok {
		return nil, fmt.Errorf("sql: %s of %q: it must be a number", strings.ToUpper(e.name), text(args[0]))
	}
	if e.name == "abs" {
		return math.Abs(x), nil
	}
	scale := 1.0
	if len(args) == 2 {
		digits, ok := args[1].(float64)
		if !ok || math.Abs(digits) > 15 {
			return nil, errors.New("sql: the digits of ROUND must be a number from -15 to 15")
		}
		scale = math.Pow(10, math.Trunc(digits))
	}
	return finite(math.Round(x*scale) / scale), nil
}

func (e functionExpr) aggregate(g group) (value, error) {
	if !g.grouped {
		return nil, fmt.Errorf("sql: %s cannot stand in WHERE or in another aggregate; HAVING can hold it", strings.ToUpper(e.name))
	}
	var n, sum float64
	var least, most value
	seen := map[value]bool{}
	for _, row := range g.rows {
		v, err := e.args[0].eval(group{rows: [][]value{row}, columns: g.columns})
		if err != nil {
			return nil, err
		}
		if v == nil || e.distinct && seen[v] {
			continue
		}
		if e.distinct {
			seen[v] = true
		}
		n++
		if f, ok := v.(float64); ok {
			sum += f
		} else if e.name == "sum" || e.name == "avg" {
			return nil, fmt.Errorf("sql: %s of %q: it must be a number", strings.ToUpper(e.name), text(v))
		}
		if least == nil || compare(v, least) < 0 {
			least = v
		}
		if most == nil || compare(v, most) > 0 {
			most = v
		}
	}
	switch {
	case e.name == "count":
		return n, nil
	case n == 0:
		return nil, nil
	case e.name == "sum":
		return finite(sum), nil
	case e.name == "avg":
		return finite(sum / n), nil
	case e.name == "min":
		return least, nil
	default:
		return most, nil
	}
}

// aggregates tells whether an expression holds an aggregate.
func aggregates(e expr) bool {
	switch e := e.(type) {
	case functionExpr:
		return functions[e.name] == aggregate || slices.ContainsFunc(e.args, aggregates)
	case binaryExpr:
		return aggregates(e.left) || aggregates(e.right)
	case notExpr:
		return aggregates(e.e)
	case isNullExpr:
		return aggregates(e.e)
	case betweenExpr:
		return aggregates(e.e) || aggregates(e.low) || aggregates(e.high)
	case inExpr:
		return aggregates(e.e) || slices.ContainsFunc(e.all, aggregates)
	default:
		return false
	}
}

// rank orders values of different kinds.
func rank(v value) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case float64:
		return 2
	default:
		return 3
	}
}

func compare(a, b value) int {
	// A number is compared with a text as text says, so that a code like '007' can be looked for.
	switch x := a.(type) {
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y)
		}
		if y, ok := b.(string); ok {
			return cmp.Compare(text(x), y)
		}
	case string:
		if rank(b) >= 2 {
			return cmp.Compare(x, text(b))
		}
	case bool:
		if y, ok := b.(bool); ok && x == y {
			return 0
		} else if ok && y {
			return -1
		} else if ok {
			return 1
		}
	}
	return cmp.Compare(rank(a), rank(b))
}

func truth(v value) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	default:
		return v != nil && v != ""
	}
}

func text(v value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	default:
		return v.(string)
	}
}

// Rows that a result has unless the model asks for more, and at most.
const (
	defaultRows = 100
	mostRows    = 10_000
)

// A result is the answer of a query. Total counts the rows before they were cut to fit.
type result struct {
	Columns []string  `json:"columns"`
	Rows    [][]value `json:"rows"`
	Total   int       `json:"total"`
}

func (t *table) query(sql string, maxRows int) (*result, error) {
	if maxRows < 0 || maxRows > mostRows {
		return nil, fmt.Errorf("max_rows is %d; it must be 1 to %d", maxRows, mostRows)
	}
	if maxRows == 0 {
		maxRows = defaultRows
	}
	q, err := parse(sql, t.columns)
	if err != nil {
		return nil, err
	}
	q.expandStars(t.columns)
	if err := q.resolveAliases(t.columns); err != nil {
		return nil, err
	}
	groups, err := q.groups(t)
	if err != nil {
		return nil, err
	}
	rows, err := q.rows(groups)
	if err != nil {
		return nil, err
	}
	rows = rows[min(q.offset, len(rows)):]
	if q.limit >= 0 {
		rows = rows[:min(q.limit, len(rows))]
	}
	r := &result{Columns: []string{}, Rows: rows[:min(maxRows, len(rows))], Total: len(rows)}
	for _, it := range q.items {
		r.Columns = append(r.Columns, it.name)
	}
	return r, nil
}

func (q *query) expandStars(columns []string) {
	var items []item
	for _, it := range q.items {
		if !it.star {
			items = append(items, it)
			continue
		}
		for i, name := range columns {
			items = append(items, item{name: name, expr: columnExpr(i)})
		}
	}
	q.items = items
}

// resolveAliases lets GROUP BY, HAVING and ORDER BY use the names and numbers of items.
func (q *query) resolveAliases(columns []string) error {
	find := func(e expr) (expr, error) {
		if n, ok := e.(literal); ok {
			if i, ok := n.v.(float64); ok {
				if i < 1 || int(i) > len(q.items) {
					return nil, fmt.Errorf("sql: there is no item number %v", i)
				}
				return q.items[int(i)-1].expr, nil
			}
		}
		return q.resolve(e), nil
	}
	var err error
	for i := range q.groupBy {
		if q.groupBy[i], err = find(q.groupBy[i]); err != nil {
			return err
		}
	}
	for i := range q.orderBy {
		if q.orderBy[i].expr, err = find(q.orderBy[i].expr); err != nil {
			return err
		}
	}
	if q.having != nil {
		q.having = q.resolve(q.having)
	}
	return nil
}

func (q *query) resolve(e expr) expr {
	switch e := e.(type) {
	case aliasExpr:
		for _, it := range q.items {
			if strings.EqualFold(it.name, string(e)) {
				return it.expr
			}
		}
		return e
	case binaryExpr:
		return binaryExpr{e.op, q.resolve(e.left), q.resolve(e.right)}
	case notExpr:
		return notExpr{q.resolve(e.e)}
	case isNullExpr:
		return isNullExpr{q.resolve(e.e)}
	case betweenExpr:
		return betweenExpr{q.resolve(e.e), q.resolve(e.low), q.resolve(e.high)}
	case inExpr:
		return inExpr{q.resolve(e.e), q.resolveAll(e.all)}
	case functionExpr:
		return functionExpr{e.name, e.distinct, q.resolveAll(e.args)}
	default:
		return e
	}
}

func (q *query) resolveAll(all []expr) []expr {
	resolved := make([]expr, len(all))
	for i, e := range all {
		resolved[i] = q.resolve(e)
	}
	return resolved
}

// groups returns the rows that WHERE lets through, together where the query groups.
func (q *query) groups(t *table) ([]group, error) {
	grouped := len(q.groupBy) > 0 || q.having != nil && aggregates(q.having) ||
		slices.ContainsFunc(q.items, func(it item) bool { return aggregates(it.expr) })
	var all []group
	index := map[string]int{}
	for _, row := range t.rows {
		g := group{rows: [][]value{row}, columns: t.columns}
		if q.where != nil {
			keep, err := q.where.eval(g)
			if err != nil {
				return nil, err
			}
			if keep == nil || !truth(keep) {
				continue
			}
		}
		if !grouped {
			all = append(all, g)
			continue
		}
		key, err := keyOf(q.groupBy, g)
		if err != nil {
			return nil, err
		}
		i, there := index[key]
		if !there {
			i = len(all)
			index[key] = i
			all = append(all, group{grouped: true, columns: t.columns})
		}
		all[i].rows = append(all[i].rows, row)
	}
	if grouped && len(all) == 0 && len(q.groupBy) == 0 {
		all = append(all, group{grouped: true, columns: t.columns}) // COUNT(*) of nothing is 0
	}
	return all, nil
}

// keyOf is equal for groups in which all expressions are.
func keyOf(exprs []expr, g group) (string, error) {
	var b strings.Builder
	for _, e := range exprs {
		v, err := e.eval(g)
		if err != nil {
			return "", err
		}
		s := text(v)
		fmt.Fprintf(&b, "%d %d %s", rank(v), len(s), s)
	}
	return b.String(), nil
}

// rows computes the items of each group, in order.
func (q *query) rows(groups []group) ([][]value, error) {
	type sortable struct{ row, keys []value }
	var all []sortable
	seen := map[string]bool{}
	for _, g := range groups {
		if q.having != nil {
			keep, err := q.having.eval(g)
			if err != nil {
				return nil, err
			}
			if keep == nil || !truth(keep) {
				continue
			}
		}
		s := sortable{row: make([]value, len(q.items)), keys: make([]value, len(q.orderBy))}
		var err error
		exprs := make([]expr, len(q.items))
		for i, it := range q.items {
			exprs[i] = it.expr
			if s.row[i], err = it.expr.eval(g); err != nil {
				return nil, err
			}
		}
		for i, o := range q.orderBy {
			if s.keys[i], err = o.expr.eval(g); err != nil {
				return nil, err
			}
		}
		if q.distinct {
			key, err := keyOf(exprs, g)
			if err != nil {
				return nil, err
			}
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b sortable) int {
		for i, o := range q.orderBy {
			if c := compare(a.keys[i], b.keys[i]); c != 0 && o.desc {
				return -c
			} else if c != 0 {
				return c
			}
		}
		return 0
	})
	rows := make([][]value, len(all))
	for i, s := range all {
		rows[i] = s.row
	}
	return rows, nil
}
