package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// chainInfo is what get_info is answered from, on any thread: it goes on answering while the main thread is stuck.
type chainInfo struct {
	head, best, lib *node
	body            string
}

// cacheInfo renews the get_info answer. Main thread only.
func (n *Node) cacheInfo() {
	c := n.chain
	best, root := c.forks.heads()
	h := c.head
	n.info.Store(&chainInfo{head: h, best: best, lib: root, body: fmt.Sprintf(`{"server_version":"%s","chain_id":"%s","head_block_num":%d,`+
		`"last_irreversible_block_num":%d,"last_irreversible_block_id":"%s","head_block_id":"%s","head_block_time":"%s","head_block_producer":"%s",`+
		`"virtual_block_cpu_limit":%d,"virtual_block_net_limit":%d,"block_cpu_limit":200000,"block_net_limit":1048576,"server_version_string":"%s",`+
		`"fork_db_head_block_num":%d,"fork_db_head_block_id":"%s","server_full_version_string":"%s","total_cpu_weight":0,"total_net_weight":0,`+
		`"earliest_available_block_num":%d,"last_irreversible_block_time":"%s"}`,
		commit()[:8], c.chainID, h.num, root.num, root.id, h.id, slotTime(h.block.Slot), h.block.Producer, 200000+int(h.num)*200, 1048576+int(h.num)*1050, Version,
		best.num, best.id, fullVersion(), c.disk.first(), slotTime(root.block.Slot))})
}

func ok200(body string) response { return response{status: 200, body: body} }
func ok201(body string) response { return response{status: 201, body: body} }

const resultOK = `{"result":"ok"}`

// endpoints are all that this node serves, by its plugins.
func (n *Node) endpoints() map[string]handler {
	onMain := func(fn func(body []byte) response) func([]byte) response {
		return func(body []byte) (r response) {
			n.call(func() { r = fn(body) })
			return r
		}
	}
	fixed := func(r response) func([]byte) response { return func([]byte) response { return r } }
	all := map[string]handler{}
	for line := range strings.Lines(endpointsTable) {
		category, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		all[path] = handler{category, optionalParams, fixed(failure(500, "Internal Service Error", 3000000, "blockchain_exception", "blockchain exception",
			httpDetail{"not implemented by simnodeos", "simnodeos", 0, "endpoints"}))}
	}
	set := func(path string, params paramKind, fn func([]byte) response) {
		h := all[path]
		h.params, h.fn = params, fn
		all[path] = h
	}
	set("/v1/chain/get_info", anyParams, func([]byte) response { return ok200(n.info.Load().body) })
	set("/v1/chain/get_block", requiredParams, onMain(n.getBlock))
	set("/v1/chain/get_raw_block", requiredParams, onMain(n.getBlock))
	set("/v1/chain/get_block_info", requiredParams, onMain(n.getBlockInfo))
	set("/v1/chain/get_block_header", requiredParams, onMain(n.getBlockHeader))
	set("/v1/chain/get_block_header_state", requiredParams, onMain(n.getBlockHeaderState))
	set("/v1/chain/get_producer_schedule", noParams, onMain(func([]byte) response {
		return ok200(`{"active":` + n.chain.sched.json() + `,"pending":{"version":0,"producers":[]},"proposed":null}`)
	}))
	set("/v1/chain/get_finalizer_info", noParams, fixed(ok200(`{"active_finalizer_policy":null,"pending_finalizer_policy":null,"last_tracked_votes":[]}`)))
	set("/v1/chain/get_producers", requiredParams, onMain(n.getProducers))
	set("/v1/chain/get_account", requiredParams, onMain(n.getAccount))
	set("/v1/chain/get_activated_protocol_features", optionalParams, onMain(n.activatedFeatures))
	set("/v1/chain/get_table_rows", requiredParams, onMain(n.getTableRows))

	p := func(fn func()) func([]byte) response {
		return onMain(func([]byte) response { fn(); return ok201(resultOK) })
	}
	set("/v1/producer/pause", noParams, p(func() { n.prod.pause() }))
	set("/v1/producer/resume", noParams, p(func() { n.prod.resume() }))
	set("/v1/producer/paused", noParams, onMain(func([]byte) response { return ok201(strconv.FormatBool(n.prod.paused)) }))
	set("/v1/producer/pause_at_block", requiredParams, onMain(n.pauseAtBlock))
	set("/v1/producer/create_snapshot", noParams, n.createSnapshot)
	set("/v1/producer/schedule_snapshot", optionalParams, onMain(n.scheduleSnapshot))
	set("/v1/producer/unschedule_snapshot", requiredParams, onMain(n.unscheduleSnapshot))
	set("/v1/producer/get_snapshot_requests", noParams, onMain(n.getSnapshotRequests))
	set("/v1/producer/get_runtime_options", noParams, onMain(func([]byte) response {
		return ok201(fmt.Sprintf(`{"max_transaction_time":%d,"max_irreversible_block_age":%d,"produce_block_offset_ms":%d,"greylist_limit":1000}`,
			n.opts.num("max-transaction-time"), n.opts.num("max-irreversible-block-age"), n.opts.num("produce-block-offset-ms")*456/450))
	}))
	set("/v1/producer/update_runtime_options", requiredParams, fixed(ok201(resultOK)))
	set("/v1/producer/get_greylist", noParams, fixed(ok201(`{"accounts":[]}`)))
	set("/v1/producer/get_integrity_hash", noParams, onMain(func([]byte) response {
		return ok201(fmt.Sprintf(`{"head_block_id":"%s","integrity_hash":"%s"}`, n.chain.head.id, n.chain.head.id))
	}))
	set("/v1/producer/get_unapplied_transactions", optionalParams, fixed(ok200(`{"size":0,"incoming_size":0,"trxs":[],"more":""}`)))

	set("/v1/net/connections", anyParams, func([]byte) response { return ok201(n.connections()) })
	set("/v1/net/status", requiredParams, n.netStatus)
	set("/v1/net/connect", requiredParams, n.netConnect)
	set("/v1/net/disconnect", requiredParams, n.netDisconnect)
	set("/v1/net/bp_gossip_peers", noParams, fixed(ok201("[]")))

	set("/v1/db_size/get", noParams, onMain(func([]byte) response {
		size := n.opts.num("chain-state-db-size-mb") << 20
		return ok200(fmt.Sprintf(`{"free_bytes":%d,"used_bytes":4364448,"reclaimable_bytes":108152,"size":%d,"indices":[]}`, size-4364448, size))
	}))
	set("/v1/prometheus/metrics", anyParams, func([]byte) response { return response{status: 200, text: true, body: n.metrics()} })
	for path, h := range all {
		if !n.serves(h.category) {
			delete(all, path)
		}
	}
	all["/v1/node/get_supported_apis"] = handler{"node", anyParams, func([]byte) response {
		var apis []string
		for path := range n.http.handlers {
			if !strings.HasPrefix(path, "/sim/") {
				apis = append(apis, quoteJSON(path))
			}
		}
		slices.Sort(apis)
		return response{status: 200, late: true, body: `{"apis":[` + strings.Join(apis, ",") + `]}`}
	}}
	if n.opts.flag("sim-control") {
		n.control(all)
	}
	return all
}

func validJSON(s string) bool {
	// fc reads bare words as strings, so do we.
	return json.Valid([]byte(s)) || !strings.ContainsAny(s, "{}[]\"")
}

// blockRef finds the block that a request names by height or id.
func (n *Node) blockRef(body []byte, line int, method string) (*Block, *response) {
	var q struct {
		Ref any `json:"block_num_or_id"`
		Num any `json:"block_num"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	_ = d.Decode(&q) // a wrong type is an empty reference
	if q.Ref == nil {
		q.Ref = q.Num
	}
	ref := ""
	if q.Ref != nil {
		ref = fmt.Sprint(q.Ref)
	}
	if ref == "" || len(ref) > 64 {
		r := failure(500, "Internal Service Error", 3010008, "block_id_type_exception", "Invalid block ID",
			httpDetail{"Invalid Block number or ID, must be greater than 0 and less than 65 characters", "chain_plugin.cpp", 1949, method})
		return nil, &r
	}
	var b *Block
	if num, err := strconv.ParseUint(ref, 10, 32); err == nil {
		b = n.chain.blockAt(uint32(num))
		if nd := n.chain.forks.ancestor(n.chain.head, uint32(num)); nd != nil {
			b = nd.block // the applied branch, where it differs from the best
		}
	} else {
		var id Hash
		if id.UnmarshalText([]byte(ref)) == nil {
			if nd := n.chain.forks.find(id); nd != nil {
				b = nd.block
			} else if c := n.chain.blockAt(binary.BigEndian.Uint32(id[:4])); c != nil && c.ID() == id {
				b = c
			}
		}
	}
	if b == nil {
		r := failure(400, "Unknown Block", 3100002, "unknown_block_exception", "Unknown block",
			httpDetail{"Could not find block: " + ref, "chain_plugin.cpp", line, method})
		return nil, &r
	}
	return b, nil
}

func headerFields(b *Block) string {
	return fmt.Sprintf(`"timestamp":"%s","producer":"%s","confirmed":%d,"previous":"%s","transaction_mroot":"%s","action_mroot":"%s","schedule_version":%d`,
		slotTime(b.Slot), b.Producer, b.Confirmed, b.Previous, b.TrxRoot, b.ActionRoot, b.ScheduleVersion)
}

const noSignature = "SIG_K1_111111111111111111111111111111111111111111111111111111111111111116uk5ne"

func firstSignature(b *Block) string {
	if len(b.Sigs) == 0 {
		return noSignature
	}
	return b.Sigs[0]
}

func refPrefix(id Hash) uint32 { return binary.LittleEndian.Uint32(id[8:12]) }

func (n *Node) getBlock(body []byte) response {
	b, bad := n.blockRef(body, 1966, "get_raw_block")
	if bad != nil {
		return *bad
	}
	trxs := make([]string, len(b.Trxs))
	for i, t := range b.Trxs {
		trxs[i] = fmt.Sprintf(`{"status":"executed","cpu_usage_us":100,"net_usage_words":15,"trx":"%s"}`, t)
	}
	return ok200(fmt.Sprintf(`{%s,"new_producers":null,"producer_signature":"%s","transactions":[%s],"id":"%s","block_num":%d,"ref_block_prefix":%d}`,
		headerFields(b), firstSignature(b), strings.Join(trxs, ","), b.ID(), b.Num(), refPrefix(b.ID())))
}

func (n *Node) getBlockInfo(body []byte) response {
	b, bad := n.blockRef(body, 2049, "get_block_info")
	if bad != nil {
		return *bad
	}
	return ok200(fmt.Sprintf(`{"block_num":%d,"ref_block_num":%d,"id":"%s",%s,"producer_signature":"%s","ref_block_prefix":%d}`,
		b.Num(), b.Num()&0xffff, b.ID(), headerFields(b), firstSignature(b), refPrefix(b.ID())))
}

func (n *Node) getBlockHeader(body []byte) response {
	b, bad := n.blockRef(body, 1966, "get_raw_block")
	if bad != nil {
		return *bad
	}
	return ok200(fmt.Sprintf(`{"id":"%s","signed_block_header":{%s,"header_extensions":[],"producer_signature":"%s"}}`, b.ID(), headerFields(b), firstSignature(b)))
}

func (n *Node) getBlockHeaderState(body []byte) response {
	b, bad := n.blockRef(body, 2099, "get_block_header_state")
	if bad != nil {
		return *bad
	}
	return ok200(fmt.Sprintf(`{"block_num":%d,"dpos_proposed_irreversible_blocknum":0,"dpos_irreversible_blocknum":0,"active_schedule":{"version":0,"producers":[]},`+
		`"blockroot_merkle":{"_active_nodes":[],"_node_count":0},"producer_to_last_produced":[],"producer_to_last_implied_irb":[],`+
		`"valid_block_signing_authority":[0,{"threshold":0,"keys":[]}],"confirm_count":[],"id":"%s","header":{%s,"header_extensions":[],"producer_signature":"%s"}}`,
		b.Num(), b.ID(), headerFields(b), firstSignature(b)))
}

func (n *Node) getProducers([]byte) response {
	var rows []string
	for _, name := range n.chain.sched.names {
		a := n.chain.sched.auths[name]
		rows = append(rows, fmt.Sprintf(`{"owner":"%s","producer_authority":%s,"url":"","total_votes":"0.00000000000000000","producer_key":"%s"}`, name, a.json(), a.keys[0]))
	}
	return ok200(`{"rows":[` + strings.Join(rows, ",") + `],"total_producer_vote_weight":"0.00000000000000000","more":""}`)
}

func (n *Node) getAccount(body []byte) response {
	var q struct {
		Name string `json:"account_name"`
	}
	_ = json.Unmarshal(body, &q) // an absent name is an unknown account
	auth, ok := n.chain.sched.auths[q.Name]
	if !ok {
		return failure(400, "Account lookup", 3060002, "account_query_exception", "Account Query Exception",
			httpDetail{"unable to retrieve account info (unknown key: (0 " + q.Name + "))", "chain_plugin.cpp", 2579, "get_account"})
	}
	h := n.chain.head
	required := strings.TrimSuffix(strings.TrimPrefix(auth.json(), "[0,"), "}]") + `,"accounts":[],"waits":[]}`
	return ok200(fmt.Sprintf(`{"account_name":"%s","head_block_num":%d,"head_block_time":"%s","privileged":%t,"permissions":[`+
		`{"perm_name":"active","parent":"owner","required_auth":%s,"linked_actions":[]},{"perm_name":"owner","parent":"","required_auth":%s,"linked_actions":[]}]}`,
		q.Name, h.num, slotTime(h.block.Slot), q.Name == "eosio", required, required))
}
