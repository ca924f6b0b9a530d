package main

import (
	"encoding/json"
	"strings"
	"testing"
)

const fruit = "Name,Price,Colour,Code\napple,1.5,red,007\nbanana,0.25,yellow,042\ncherry,9,red,\n\"kiwi, gold\",,yellow,100\n"

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, sql, want string }{
		{"all columns", `SELECT * LIMIT 1`, `{"columns":["Name","Price","Colour","Code"],"rows":[["apple",1.5,"red","007"]],"total":1}`},
		{"a column in any case", `select NAME from t where price > 1`, `{"columns":["Name"],"rows":[["apple"],["cherry"]],"total":2}`},
		{"codes are text", `SELECT name WHERE code = '007'`, `{"columns":["Name"],"rows":[["apple"]],"total":1}`},
		{"an empty cell is NULL", `SELECT name WHERE price IS NULL`, `{"columns":["Name"],"rows":[["kiwi, gold"]],"total":1}`},
		{"NULL is neither", `SELECT name WHERE NOT price > 1`, `{"columns":["Name"],"rows":[["banana"]],"total":1}`},
		{"groups in the order of their number", `SELECT colour, COUNT(*) AS n, AVG(price) mean GROUP BY colour ORDER BY mean DESC`,
			`{"columns":["Colour","n","mean"],"rows":[["red",2,5.25],["yellow",2,0.25]],"total":2}`},
		{"groups that HAVING keeps", `SELECT colour, sum(price) GROUP BY 1 HAVING sum(price) > 1`, `{"columns":["Colour","sum(price)"],"rows":[["red",10.5]],"total":1}`},
		{"an aggregate of nothing", `SELECT COUNT(*), MAX(price) WHERE name = 'fig'`, `{"columns":["COUNT(*)","MAX(price)"],"rows":[[0,null]],"total":1}`},
		{"precedence", `SELECT 1 + 2 * 3 - -4 / 2 AS x LIMIT 1`, `{"columns":["x"],"rows":[[9]],"total":1}`},
		{"division by zero is NULL", `SELECT 1 / 0 AS x LIMIT 1`, `{"columns":["x"],"rows":[[null]],"total":1}`},
		{"like", `SELECT name WHERE name LIKE '%AN_NA' OR name LIKE 'kiwi%'`, `{"columns":["Name"],"rows":[["banana"],["kiwi, gold"]],"total":2}`},
		{"in and between", `SELECT name WHERE name IN ('apple', 'fig') OR price BETWEEN 8 AND 9`, `{"columns":["Name"],"rows":[["apple"],["cherry"]],"total":2}`},
		{"in is evaluated once", `SELECT ` + strings.Repeat("(", 90) + "1" + strings.Repeat(" IN (1, 2) )", 90) + ` AS x LIMIT 1`, `{"columns":["x"],"rows":[[false]],"total":1}`},
		{"the name of an item within", `SELECT name, price * 2 AS double ORDER BY ABS(double) DESC LIMIT 1`, `{"columns":["Name","double"],"rows":[["cherry",18]],"total":1}`},
		{"distinct", `SELECT DISTINCT colour`, `{"columns":["Colour"],"rows":[["red"],["yellow"]],"total":2}`},
		{"functions", `SELECT UPPER(name) || '!', ROUND(price * 1.1, 1), COALESCE(price, -1) LIMIT 1 OFFSET 3`,
			`{"columns":["UPPER(name) || '!'","ROUND(price * 1.1, 1)","COALESCE(price, -1)"],"rows":[["KIWI, GOLD!",null,-1]],"total":1}`},
		{"NULL sorts first", `SELECT name ORDER BY price, name LIMIT 1`, `{"columns":["Name"],"rows":[["kiwi, gold"]],"total":1}`},
		{"an offset behind the end", `SELECT name LIMIT 5 OFFSET 99`, `{"columns":["Name"],"rows":[],"total":0}`},
		{"a quote in a text", `SELECT 'it''s' AS x LIMIT 1`, `{"columns":["x"],"rows":[["it's"]],"total":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := ask(input{CSV: fruit, SQL: test.sql})
			if err != nil || got != test.want {
				t.Errorf("%s\ngot  %s, %v\nwant %s", test.sql, got, err, test.want)
			}
		})
	}
}

func TestQueryErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		in   input
		want string
	}{
		{"no select", input{CSV: fruit, SQL: "DELETE"}, "at character 1 there is DELETE; SELECT was expected"},
		{"unknown column", input{CSV: fruit, SQL: "SELECT nme"}, "there is no column nme; there are Name, Price, Colour, Code"},
		{"unknown function", input{CSV: fruit, SQL: "SELECT median(price)"}, "there is no function median"},
		{"text in a sum", input{CSV: fruit, SQL: "SELECT SUM(name)"}, `SUM of "apple": it must be a number`},
		{"aggregate in where", input{CSV: fruit, SQL: "SELECT name WHERE COUNT(*) > 1"}, "HAVING can hold it"},
		{"open quote", input{CSV: fruit, SQL: "SELECT 'x"}, "the ' at character 8 is never closed"},
		{"rest", input{CSV: fruit, SQL: "SELECT name LIMIT 1 2"}, "the end or another clause was expected"},
		{"too deep", input{CSV: fruit, SQL: "SELECT " + strings.Repeat("(", 1000)}, "nested deeper than 100"},
		{"too many signs", input{CSV: fruit, SQL: "SELECT " + strings.Repeat("- ", 100_000) + "1"}, "nested deeper than 100"},
		{"no data", input{SQL: "SELECT 1"}, "either csv or file must be given"},
		{"missing cell", input{CSV: "a,b\n1", SQL: "SELECT a"}, "wrong number of fields"},
		{"bad delimiter", input{CSV: "a", Delimiter: "::", SQL: "SELECT a"}, "it must be one character"},
		{"too many rows", input{CSV: "a", SQL: "SELECT a", MaxRows: 1_000_000}, "it must be 1 to 10000"},
		{"a file that is not there", input{File: "../none.csv", SQL: "SELECT a"}, "/data/none.csv"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, err := ask(test.in); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v\nwant an error with %s", got, err, test.want)
			}
		})
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("a,b\n1,x\n2,y", "SELECT a, COUNT(*) FROM t WHERE b LIKE '%x' AND NOT a IN (1, 2) GROUP BY a ORDER BY 2 DESC LIMIT 3")
	f.Add("a;b\n", "SELECT -a + (b || 'x') BETWEEN 1 AND 2, ROUND(a, 2), [a], \"b\" c -- end")
	f.Fuzz(func(t *testing.T, csv, sql string) {
		if got, err := ask(input{CSV: csv, SQL: sql}); err == nil && !json.Valid([]byte(got)) {
			t.Errorf("no JSON: %s", got)
		}
	})
}

func ask(in input) (string, error) {
	args, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	r, err := call("query", args)
	if err != nil {
		return "", err
	}
	p, err := json.Marshal(r)
	return string(p), err
}
