package sim

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// tableRow is a line of --sim-table.
type tableRow struct {
	Code  string          `json:"code"`
	Scope string          `json:"scope"`
	Table string          `json:"table"`
	Key   string          `json:"key"` // primary, a number or a name
	Row   json.RawMessage `json:"row"` // null: the table is there, and has no row for this line
}

// getTableRows answers from --sim-table, read at each request. Keys of results and errors are those of nodeos' chain_plugin.cpp; no
// chain with a contract was recorded. Only the primary index is there, and binary rows are the JSON's bytes.
func (n *Node) getTableRows(body []byte) response {
	q := struct {
		JSON    bool   `json:"json"`
		Code    string `json:"code"`
		Scope   string `json:"scope"`
		Table   string `json:"table"`
		Lower   string `json:"lower_bound"`
		Upper   string `json:"upper_bound"`
		Limit   int    `json:"limit"`
		Reverse bool   `json:"reverse"`
	}{Limit: 10}
	if err := json.Unmarshal(body, &q); err != nil {
		return failure(400, "Invalid Request", 3200006, "invalid_http_request", "invalid http request",
			httpDetail{"Unable to parse valid input from POST body", "http_plugin.hpp", 278, "parse_params"})
	}
	_, account := n.chain.sched.auths[q.Code]
	account = account || q.Code == "eosio"
	table := false
	var rows []tableRow
	for line := range strings.Lines(readSim(n.opts.get("sim-table"))) {
		var r tableRow
		if json.Unmarshal([]byte(line), &r) != nil || r.Code != q.Code { // half a line is being written
			continue
		}
		account = true
		if r.Table != q.Table {
			continue
		}
		table = true
		if r.Scope == q.Scope && len(r.Row) > 0 && string(r.Row) != "null" {
			rows = append(rows, r)
		}
	}
	switch {
	case !account:
		return failure(400, "Account lookup", 3060002, "account_query_exception", "Account Query Exception",
			httpDetail{"Fail to retrieve account for " + q.Code, "chain_plugin.cpp", 2170, "get_abi"})
	case !table:
		return failure(500, "Internal Service Error", 3060003, "contract_table_query_exception", "Contract Table Query Exception",
			httpDetail{"Table " + q.Table + " is not specified in the ABI", "chain_plugin.cpp", 2182, "get_table_type"})
	}
	slices.SortStableFunc(rows, func(a, b tableRow) int { return cmp.Compare(tableKey(a.Key), tableKey(b.Key)) })
	rows = slices.DeleteFunc(rows, func(r tableRow) bool {
		k := tableKey(r.Key)
		return q.Lower != "" && k < tableKey(q.Lower) || q.Upper != "" && k > tableKey(q.Upper)
	})
	if q.Reverse {
		slices.Reverse(rows)
	}
	next := ""
	if q.Limit >= 0 && len(rows) > q.Limit {
		next = strconv.FormatUint(tableKey(rows[q.Limit].Key), 10)
		rows = rows[:q.Limit]
	}
	parts := make([]string, len(rows))
	for i, r := range rows {
		if parts[i] = string(r.Row); !q.JSON {
			parts[i] = `"` + hex.EncodeToString(r.Row) + `"`
		}
	}
	return ok200(`{"rows":[` + strings.Join(parts, ",") + `],"more":` + strconv.FormatBool(next != "") + `,"next_key":"` + next + `"}`)
}

// tableKey is a primary key: a number, or a name as nodeos packs it, five bits for each of twelve characters and four for the last.
func tableKey(s string) uint64 {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n
	}
	var v uint64
	for i := range 13 {
		c := uint64(0)
		if i < len(s) {
			c = uint64(max(0, strings.IndexByte(".12345abcdefghijklmnopqrstuvwxyz", s[i])))
		}
		if i < 12 {
			v |= (c & 0x1f) << (64 - 5*(i+1))
		} else {
			v |= c & 0x0f
		}
	}
	return v
}
