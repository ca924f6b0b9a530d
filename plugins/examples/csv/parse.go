package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A query is a parsed SELECT.
type query struct {
	distinct      bool
	items         []item // none: all columns
	where         expr
	groupBy       []expr
	having        expr
	orderBy       []order
	limit, offset int // limit -1: none
}

type item struct {
	name string
	expr expr
	star bool // all columns
}

type order struct {
	expr expr
	desc bool
}

// A token is a word in lower case, a number, 'text', "name" or a sign; kind is its first character's class.
type token struct {
	kind tokenKind
	text string // the name as it is written, the text without its quotes
	word string // lower case of an unquoted word or the sign
	at   int
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenName // quoted
	tokenText
	tokenNumber
	tokenSign
)

func scan(sql string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(sql); {
		r, size := utf8.DecodeRuneInString(sql[i:])
		start := i
		switch {
		case unicode.IsSpace(r):
			i += size
			continue
		case strings.HasPrefix(sql[i:], "--"):
			if end := strings.IndexByte(sql[i:], '\n'); end >= 0 {
				i += end
				continue
			}
			i = len(sql)
			continue
		case r == '\'' || r == '"' || r == '`' || r == '[':
			text, n, err := quoted(sql[i:])
			if err != nil {
				return nil, fmt.Errorf("sql: the %c at character %d is never closed", r, i+1)
			}
			kind := tokenName
			if r == '\'' {
				kind = tokenText
			}
			tokens = append(tokens, token{kind, text, "", start})
			i += n
		case r >= '0' && r <= '9' || r == '.' && i+1 < len(sql) && sql[i+1] >= '0' && sql[i+1] <= '9':
			for i < len(sql) && (sql[i] >= '0' && sql[i] <= '9' || sql[i] == '.' || sql[i]|32 == 'e' ||
				(sql[i] == '+' || sql[i] == '-') && sql[i-1]|32 == 'e') {
				i++
			}
			tokens = append(tokens, token{tokenNumber, sql[start:i], "", start})
		case unicode.IsLetter(r) || r == '_':
			for i < len(sql) && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_') {
				i += size
				r, size = utf8.DecodeRuneInString(sql[i:])
			}
			tokens = append(tokens, token{tokenWord, sql[start:i], strings.ToLower(sql[start:i]), start})
		default:
			n := size
			for _, sign := range []string{"<=", ">=", "<>", "!=", "||"} {
				if strings.HasPrefix(sql[i:], sign) {
					n = 2
				}
			}
			i += n
			tokens = append(tokens, token{tokenSign, sql[start:i], sql[start:i], start})
		}
	}
	return append(tokens, token{tokenEnd, "the end", "", len(sql)}), nil
}

// quoted reads what stands in quotes; two of them stand for one.
func quoted(s string) (text string, n int, err error) {
	end := s[0]
	if end == '[' {
		end = ']'
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != end {
			b.WriteByte(s[i])
			continue
		}
		if i+1 == len(s) || s[i+1] != end || end == ']' {
			return b.String(), i + 1, nil
		}
		b.WriteByte(end)
		i++
	}
	return "", 0, errors.New("not closed")
}

// maxDepth bounds the nesting of expressions.
const maxDepth = 100

type parser struct {
	sql     string
	tokens  []token
	columns []string
	depth   int
}

func parse(sql string, columns []string) (*query, error) {
	sql = strings.TrimRight(strings.TrimSpace(sql), ";")
	tokens, err := scan(sql)
	if err != nil {
		return nil, err
	}
	p := &parser{sql: sql, tokens: tokens, columns: columns}
	q := &query{limit: -1}
	if err := p.query(q); err != nil {
		return nil, err
	}
	if p.tokens[0].kind != tokenEnd {
		return nil, p.unexpected("the end or another clause")
	}
	return q, nil
}

func (p *parser) unexpected(want string) error {
	t := p.tokens[0]
	return fmt.Errorf("sql: at character %d there is %s; %s was expected", t.at+1, t.text, want)
}

// take consumes the words or signs if they are all next.
func (p *parser) take(words ...string) bool {
	for i, w := range words {
		if i >= len(p.tokens) || p.tokens[i].word != w {
			return false
		}
	}
	p.tokens = p.tokens[len(words):]
	return true
}

func (p *parser) expect(word string) error {
	if !p.take(word) {
		return p.unexpected(strings.ToUpper(word))
	}
	return nil
}

func (p *parser) query(q *query) (err error) {
	if err := p.expect("select"); err != nil {
		return err
	}
	q.distinct = p.take("distinct")
	if q.items, err = list(p, p.item); err != nil {
		return err
	}
	if p.take("from") { // there is only one table, whatever it is called
		if k := p.tokens[0].kind; k != tokenWord && k != tokenName {
			return p.unexpected("a name of the table")
		}
		p.tokens = p.tokens[1:]
	}
	if p.take("where") {
		if q.where, err = p.expr(); err != nil {
			return err
		}
	}
	if p.take("group", "by") {
		if q.groupBy, err = list(p, p.expr); err != nil {
			return err
		}
	}
	if p.take("having") {
		if q.having, err = p.expr(); err != nil {
			return err
		}
	}
	if p.take("order", "by") {
		if q.orderBy, err = list(p, p.order); err != nil {
			return err
		}
	}
	if p.take("limit") {
		if q.limit, err = p.count(); err != nil {
			return err
		}
	}
	if p.take("offset") {
		q.offset, err = p.count()
	}
	return err
}

func list[T any](p *parser, one func() (T, error)) ([]T, error) {
	var all []T
	for {
		v, err := one()
		if err != nil {
			return nil, err
		}
		all = append(all, v)
		if !p.take(",") {
			return all, nil
		}
	}
}

func (p *parser) item() (item, error) {
	if p.take("*") {
		return item{star: true}, nil
	}
	start := p.tokens[0]
	e, err := p.expr()
	if err != nil {
		return item{}, err
	}
	it := item{expr: e, name: strings.TrimSpace(p.sql[start.at:p.tokens[0].at])}
	if c, ok := e.(columnExpr); ok {
		it.name = p.columns[c]
	}
	if next := p.tokens[0]; p.take("as") || (next.kind == tokenWord && !clauses[next.word]) || next.kind == tokenName {
		name := p.tokens[0]
		if name.kind != tokenWord && name.kind != tokenName {
			return item{}, p.unexpected("a name for " + start.text)
		}
		it.name = name.text
		p.tokens = p.tokens[1:]
	}
	return it, nil
}

// clauses are the words that end an item.
var clauses = map[string]bool{"from": true, "where": true, "group": true, "having": true, "order": true, "limit": true, "offset": true}

func (p *parser) order() (order, error) {
	e, err := p.expr()
	o := order{expr: e, desc: p.take("desc")}
	if !o.desc {
		p.take("asc")
	}
	return o, err
}

func (p *parser) count() (int, error) {
	n, err := strconv.Atoi(p.tokens[0].text)
	if p.tokens[0].kind != tokenNumber || err != nil {
		return 0, p.unexpected("a whole number")
	}
	p.tokens = p.tokens[1:]
	return n, nil
}

func (p *parser) expr() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("sql: expressions are nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.binary(0)
}

// levels are the binary operators, weakest first.
var levels = [][]string{{"or"}, {"and"}, {"="}, {"+", "-", "||"}, {"*", "/", "%"}}

const (
	levelComparison = 2
)

func (p *parser) binary(level int) (expr, error) {
	if level == len(levels) {
		return p.unary()
	}
	if level == levelComparison {
		if p.take("not") {
			if p.depth++; p.depth > maxDepth {
				return nil, fmt.Errorf("sql: expressions are nested deeper than %d", maxDepth)
			}
			defer func() { p.depth-- }()
			e, err := p.binary(level)
			return notExpr{e}, err
		}
		return p.comparison()
	}
	left, err := p.binary(level + 1)
	for err == nil {
		op := p.tokens[0].word
		if !p.takeAny(levels[level]) {
			return left, nil
		}
		var right expr
		right, err = p.binary(level + 1)
		left = binaryExpr{op, left, right}
	}
	return nil, err
}

func (p *parser) takeAny(words []string) bool {
	for _, w := range words {
		if p.take(w) {
			return true
		}
	}
	return false
}

func (p *parser) comparison() (expr, error) {
	left, err := p.binary(levelComparison + 1)
	if err != nil {
		return nil, err
	}
	op := p.tokens[0].word
	switch op {
	case "=", "<", "<=", ">", ">=", "<>", "!=":
		p.take(op)
		right, err := p.binary(levelComparison + 1)
		return binaryExpr{op, left, right}, err
	case "is":
		p.take(op)
		not := p.take("not")
		err := p.expect("null")
		return negate(isNullExpr{left}, not), err
	}
	not := p.take("not")
	switch {
	case p.take("like"):
		right, err := p.binary(levelComparison + 1)
		return negate(binaryExpr{"like", left, right}, not), err
	case p.take("between"):
		low, err := p.binary(levelComparison + 1)
		if err != nil {
			return nil, err
		}
		if err := p.expect("and"); err != nil {
			return nil, err
		}
		high, err := p.binary(levelComparison + 1)
		return negate(betweenExpr{left, low, high}, not), err
	case p.take("in"):
		if err := p.expect("("); err != nil {
			return nil, err
		}
		all, err := list(p, p.expr)
		if err != nil {
			return nil, err
		}
		return negate(inExpr{left, all}, not), p.expect(")")
	case not:
		return nil, p.unexpected("LIKE, BETWEEN or IN")
	}
	return left, nil
}

func negate(e expr, not bool) expr {
	if not {
		return notExpr{e}
	}
	return e
}

func (p *parser) unary() (expr, error) {
	if p.take("-") {
		if p.depth++; p.depth > maxDepth {
			return nil, fmt.Errorf("sql: expressions are nested deeper than %d", maxDepth)
		}
		defer func() { p.depth-- }()
		e, err := p.unary()
		return binaryExpr{"-", literal{0.0}, e}, err
	}
	if p.take("(") {
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	}
	t := p.tokens[0]
	switch t.kind {
	case tokenNumber:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, p.unexpected("a number")
		}
		p.tokens = p.tokens[1:]
		return literal{f}, nil
	case tokenText:
		p.tokens = p.tokens[1:]
		return literal{t.text}, nil
	case tokenWord, tokenName:
		p.tokens = p.tokens[1:]
		if t.kind == tokenWord && p.take("(") {
			return p.function(t)
		}
		if t.word == "null" {
			return literal{nil}, nil
		}
		if p.take(".") { // table.column
			t = p.tokens[0]
			p.tokens = p.tokens[1:]
		}
		return p.column(t)
	}
	return nil, p.unexpected("a column, a value or a function")
}

func (p *parser) column(t token) (expr, error) {
	for i, name := range p.columns {
		if name == t.text {
			return columnExpr(i), nil
		}
	}
	for i, name := range p.columns {
		if strings.EqualFold(name, t.text) {
			return columnExpr(i), nil
		}
	}
	return aliasExpr(t.text), nil // perhaps the name of an item; the query checks it
}

func (p *parser) function(name token) (expr, error) {
	f := functionExpr{name: name.word}
	kind, known := functions[f.name]
	if !known {
		return nil, fmt.Errorf("sql: there is no function %s; there are COUNT, SUM, AVG, MIN, MAX, LOWER, UPPER, LENGTH, ROUND, ABS and COALESCE", name.text)
	}
	f.distinct = kind == aggregate && p.take("distinct")
	var err error
	if f.name == "count" && p.take("*") {
		f.args = []expr{literal{1.0}}
	} else if f.args, err = list(p, p.expr); err != nil {
		return nil, err
	}
	if want := arguments(f.name); len(f.args) < want[0] || len(f.args) > want[1] {
		return nil, fmt.Errorf("sql: %s has %d arguments", strings.ToUpper(f.name), len(f.args))
	}
	return f, p.expect(")")
}

type functionKind int

const (
	scalar functionKind = iota
	aggregate
)

var functions = map[string]functionKind{
	"count": aggregate, "sum": aggregate, "avg": aggregate, "min": aggregate, "max": aggregate,
	"lower": scalar, "upper": scalar, "length": scalar, "round": scalar, "abs": scalar, "coalesce": scalar,
}

// arguments returns how many arguments a function has, at least and at most.
func arguments(name string) [2]int {
	switch name {
	case "round":
		return [2]int{1, 2}
	case "coalesce":
		return [2]int{1, 100}
	default:
		return [2]int{1, 1}
	}
}
