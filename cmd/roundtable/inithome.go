package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/manager"
)

// member is one home to be made.
type member struct {
	layout
	home      string
	id        string
	advertise string
	witness   bool
	joins     []string // gossip addresses
	peers     []string // p2p addresses
	nodeArgs  []string
	keyFile   string // "": the default, keys in the home
}

// member is the plan for one home.
func (l layout) member(home, id, advertise string) member {
	return member{layout: l, home: home, id: id, advertise: advertise, witness: l.witness || slices.Contains(l.witnesses, id), nodeArgs: l.nodeArgs, keyFile: l.keyFile}
}

// sans are the hosts that the certificate is to be good for.
func (m member) sans() []string { return append([]string{m.advertise}, m.hosts...) }

// made are the keys whose files init makes, or leaves to the operator, and which are not there when the plan is checked.
var made = []string{"tls.ca", "tls.ca_key", "tls.cert", "tls.key", "tls.gossip_key", "signer.key_file", "node.path"}

// check refuses what `roundtable run` would refuse, but for what is not there yet.
func (m member) check() error {
	c, err := config.Parse(filepath.Join(m.home, "config.toml"), m.render(), nil, nil)
	if err == nil {
		err = c.Finish()
	}
	var bad []error
	for _, p := range config.Problems(err) {
		if !slices.Contains(made, p.Key) {
			p.File = "init"
			bad = append(bad, p)
		}
	}
	return errors.Join(bad...)
}

// complete lays out the rest of the home, and writes config.toml last: then it is a home.
func (m member) complete() error {
	if !m.witness {
		if err := manager.LayOut(m.home); err != nil {
			return err
		}
	}
	return durable.Create(filepath.Join(m.home, "config.toml"), m.render())
}

// at is the address of one of this member's ports for others.
func (m member) at(listen string) string {
	_, port, _ := net.SplitHostPort(listen) // check has seen it
	return net.JoinHostPort(m.advertise, port)
}

// render writes the config.toml: what was chosen, and why.
func (m member) render() []byte {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# One manager of the cluster %q, made by roundtable init. All keys: docs/reference/config.md.", m.cluster)
	p("# A variable ROUNDTABLE_SECTION_KEY wins over this file. A change is noticed; when each key counts is said there, too.")
	p("")
	p("[manager]")
	p("# Who this member is, for good: certificate, vote and history go by it.")
	p("id = %q", m.id)
	p("# Listened on: TLS and tokens or certificates protect the API and raft, encryption protects gossip (TCP and UDP).")
	p("api = %q", m.api)
	p("raft = %q", m.raft)
	p("gossip = %q", m.gossip)
	p("# The host by which the others reach all of them. Where it changes: change it here, and restart the manager.")
	p("advertise = %q", m.advertise)
	if len(m.joins) == 0 {
		p("# This member founds the cluster. Later it finds the others by what is in its raft folder; should that be lost, it must be")
		p("# told where they are, and joins them. Name them when you have them:")
		p("# join = [\"bp2.example.org:9060\"]")
	} else {
		p("# Gossip addresses of others. One that answers is enough, and later it finds them by itself.")
		p("join = %s", tomlList(m.joins))
	}
	if m.witness {
		p("# It votes and has no node: two machines with nodes and a witness survive the loss of one.")
		p("witness = true")
	}
	p("# priority = 10        # the higher one is preferred when production has to move")
	p("# nofailover = true    # production moves here by a handoff only")
	p("")
	p("[cluster]")
	p("name = %q", m.cluster)
	p("# The accounts that are signed for. The founder writes them into the cluster's state at its first start; later they are")
	p("# changed there: roundtable config set")
	p("producers = %s", tomlList(m.producers))
	if !m.witness {
		m.renderNode(p)
	}
	p("")
	p("# [tls]: ca.pem, cert.pem, key.pem and gossip.key are in the folder tls. The certificate is renewed by itself when a third")
	p("# of its life is left: by the member that has tls/ca.key, which the others ask.")
	if len(m.hosts) > 0 {
		p("[tls]")
		p("# Further names that clients reach the API by.")
		p("hosts = %s", tomlList(m.hosts))
	}
	return []byte(b.String())
}

func (m member) renderNode(p func(format string, args ...any)) {
	p("")
	p("[node]")
	p("path = %q", m.nodeos)
	p("# Your own lines of nodeos' config.ini, such as chain-state-db-size-mb or a finalizer's BLS key. What roundtable owns")
	p("# (addresses, producer, signer, plugins for them) it writes itself.")
	p("# config_template = \"nodeos.ini\"")
	if len(m.nodeArgs) > 0 {
		p("args = %s", tomlList(m.nodeArgs))
	} else {
		p("# args = [\"--snapshot\", \"/path/snapshot.bin\"]")
	}
	p("# It can pause production and asks for no password: loopback only.")
	p("http = %q", m.http)
	p("p2p = %q", m.p2p)
	p("# Nodes to connect to: the other members' and some of the network's.")
	p("peers = %s", tomlList(m.peers))
	p("")
	p("[signer]")
	p("# The producer's private key is here and nowhere else: never in nodeos' configuration. One key on a line, mode 0600.")
	p("kind = \"file\"")
	if m.keyFile == "" {
		p("key_file = \"keys\"")
	} else {
		p("key_file = %q", m.keyFile)
	}
	p("")
	p("# Where versions of nodeos come from that are not in the folder versions: roundtable upgrade TAG. Without this an operator puts")
	p("# the folder versions/TAG there, on each member: its run.toml and its binaries.")
	p("# [upgrade]")
	p("# auto_install = true")
	p("# source = \"github.com/AntelopeIO/spring\"      # or file:///..., https://...; {tag}, {version}, {os}, {arch} are filled in")
	p("# asset = \"antelope-spring_{version}_{arch}.deb\"")
	p("# hook = \"before-upgrade\"     # run before this member's node is stopped for an upgrade; where it fails, nothing is stopped")
	p("# rollout = \"manual\"         # a changed config_template waits for: roundtable rollout; \"auto\" does it by itself")
}

// tomlList writes a list of texts.
func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
