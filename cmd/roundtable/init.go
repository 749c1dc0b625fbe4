package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/manager"
	"roundtable/node/gate"
	"roundtable/security"
)

// layout is what `roundtable init` was asked for.
type layout struct {
	home, dir      string
	mounted        string // where the manager of a home in dir finds it
	id, cluster    string
	producers      []string
	join           string
	members        []string // ID=HOST each
	witnesses      []string
	witness        bool
	advertise      string
	hosts          []string
	nodeos         string
	nodeArgs       []string
	keyFile        string
	tokenDir       string
	scraperDir     string
	from           string
	demoChain      bool
	api, raft      string
	gossip         string
	http, p2p      string
	nodeosWasGiven bool
}

// initCommand is `roundtable init`.
func (a *app) initCommand() *cobra.Command {
	var l layout
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a manager's home: configuration, certificates, keys; of the first member, of one that joins, or of all at once",
		Long: `Makes a manager's home. Nothing that is there is ever replaced; a run that was interrupted can be repeated.

  The first member (the cluster's CA is made, and stays, in its home; the tokens are shown once):
      roundtable init --home DIR --id m1 --cluster NAME --producers ACCOUNT [--advertise HOST]
  A member that was invited with "roundtable member add":
      roundtable init --home DIR --join STRING [--advertise HOST]
  All members at once, for containers; again, it does what is missing:
      roundtable init --dir DIR --members m1=host1,m2=host2,m3=host3 --cluster NAME --producers ACCOUNT
  One that was laid out so, from where it was put (a Secret of Kubernetes) to where it lives:
      roundtable init --home DIR --from DIR`,
		Example: "roundtable init --home /var/lib/roundtable --id m1 --cluster prod --producers mybp --advertise bp1.example.org --nodeos /usr/bin/nodeos\n" +
			"roundtable init --home /var/lib/roundtable --join rtj1_... --advertise bp2.example.org\n" +
			"roundtable init --dir /homes --members m1,m2,m3 --cluster demo --producers bp --demo-chain",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l.nodeosWasGiven = cmd.Flags().Changed("nodeos")
			if l.from != "" {
				return a.moveIn(l)
			}
			if err := l.check(); err != nil {
				return err
			}
			switch {
			case l.dir != "":
				return a.layOutAll(l)
			case l.join != "":
				return a.joinCluster(cmd.Context(), l)
			}
			return a.found(l)
		},
	}
	f := c.Flags()
	f.StringVar(&l.home, "home", "", "`DIR` to make: the home of one manager")
	f.StringVar(&l.id, "id", "", "the first member's `ID`, for good")
	f.StringVar(&l.cluster, "cluster", "", "the cluster's `NAME`")
	f.StringSliceVar(&l.producers, "producers", nil, "`ACCOUNT`s that the cluster signs for")
	f.StringVar(&l.join, "join", "", "`STRING` that roundtable member add printed, - for stdin; it is a secret until it was used")
	f.StringVar(&l.advertise, "advertise", "", "`HOST` by which the other members reach this one (default: this machine's name)")
	f.StringSliceVar(&l.hosts, "host", nil, "further `HOST`s that the certificate is to be good for, such as a load balancer's")
	f.BoolVar(&l.witness, "witness", false, "a member that votes and has no node")
	f.StringVar(&l.dir, "dir", "", "`DIR` for the homes of all members")
	f.StringSliceVar(&l.members, "members", nil, "`ID=HOST` of each member, the founder first; without =HOST the id is the host")
	f.StringSliceVar(&l.witnesses, "witnesses", nil, "`ID`s of --members that are witnesses")
	f.StringVar(&l.mounted, "at", "", "`DIR` where each manager of --dir will find its home (default: where it is made)")
	f.StringVar(&l.nodeos, "nodeos", "nodeos", "`PATH` of nodeos")
	f.StringArrayVar(&l.nodeArgs, "node-arg", nil, "`ARGUMENT` for nodeos, repeatable")
	f.StringVar(&l.keyFile, "key-file", "", "`FILE` with the producer's private key, mode 0600; with --home it stays where it is, with --dir each home gets a copy")
	f.StringVar(&l.tokenDir, "token-dir", "", "write the tokens to `DIR`/admin.token, operate.token and read.token instead of showing them")
	f.StringVar(&l.from, "from", "", "with --home alone: copy a home that --dir made from `DIR`, once; what is there already stays")
	f.StringVar(&l.scraperDir, "scraper-dir", "", "with --dir: write what Prometheus needs to `DIR`, as deploy/prometheus wants it: ca.pem, and a token with the role read")
	f.BoolVar(&l.demoChain, "demo-chain", false, "with --dir: draw a producer key and begin a chain of its own, with simnodeos as the node")
	d := config.Default()
	f.StringVar(&l.api, "api", everywhere(d.Manager.API), "`HOST:PORT` that the API listens on")
	f.StringVar(&l.raft, "raft", everywhere(d.Manager.Raft), "`HOST:PORT` that raft listens on")
	f.StringVar(&l.gossip, "gossip", everywhere(d.Manager.Gossip), "`HOST:PORT` that gossip listens on, TCP and UDP")
	f.StringVar(&l.http, "http", d.Node.HTTP, "`HOST:PORT` of nodeos' API, loopback only")
	f.StringVar(&l.p2p, "p2p", everywhere(d.Node.P2P), "`HOST:PORT` that nodeos listens on for other nodes")
	return c
}

// everywhere is a default address with all of the machine's addresses instead of loopback.
func everywhere(addr string) string { return strings.Replace(addr, "127.0.0.1", "0.0.0.0", 1) }

// check refuses what makes no sense together, before anything is done.
func (l *layout) check() error {
	three := "see: roundtable init --help"
	forms := 0
	for _, given := range []bool{l.dir != "" || len(l.members) > 0, l.join != "", l.id != ""} {
		if given {
			forms++
		}
	}
	switch {
	case forms != 1:
		return usagef(three, "name either --id (the first member), or --join (one that was invited), or --dir and --members (all at once)")
	case l.dir == "" != (len(l.members) == 0):
		return usagef(three, "--dir and --members go together")
	case l.dir == "" && l.home == "":
		return usagef("such as --home /var/lib/roundtable", "--home is missing: the folder to make")
	case l.dir != "" && (l.home != "" || l.advertise != "" || l.witness):
		return usagef("hosts stand in --members, witnesses in --witnesses", "--home, --advertise and --witness are for one member, not for --dir")
	case l.join == "" && (l.cluster == "" || len(l.producers) == 0):
		return usagef(three, "--cluster and --producers are missing: the cluster's name, and the accounts that it signs for")
	case l.join != "" && (l.cluster != "" || len(l.producers) > 0 || l.tokenDir != ""):
		return usagef("leave them out", "--cluster, --producers and --token-dir are the founder's: a member that joins is told by the cluster")
	case l.demoChain && (l.dir == "" || l.keyFile != ""):
		return usagef("for trying things out on this machine there is: roundtable sandbox", "--demo-chain goes with --dir, and draws its own key")
	case l.dir == "" && (l.mounted != "" || len(l.witnesses) > 0 || l.scraperDir != ""):
		return usagef(three, "--at, --witnesses and --scraper-dir go with --dir")
	}
	for _, h := range l.hosts {
		if err := security.CheckHost(h); err != nil {
			return usagef("names and addresses, without ports and wildcards", "--host: %v", err)
		}
	}
	if l.demoChain && !l.nodeosWasGiven {
		l.nodeos = "simnodeos"
	}
	if l.dir == "" && l.advertise == "" {
		name, err := os.Hostname()
		if err != nil || security.CheckHost(name) != nil {
			return usagef("such as --advertise bp1.example.org", "--advertise is missing: this machine's name is no host")
		}
		l.advertise = name
	}
	return l.checkKeyFile()
}

// checkKeyFile reads the key file as a manager will.
func (l *layout) checkKeyFile() (err error) {
	if l.keyFile == "" {
		return nil
	}
	if l.keyFile, err = filepath.Abs(l.keyFile); err != nil {
		return err
	}
	_, err = gate.NewFileSigner(l.keyFile)
	return err
}

// untouched refuses a home that is somebody's.
func untouched(home string) error {
	switch _, err := os.Stat(filepath.Join(home, "config.toml")); {
	case err == nil:
		return &failure{exitFailed, home + " is a manager's home already: nothing was changed", "start it with: roundtable run --home " + home + "; or choose another folder"}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look into %s: %w", home, err)
	}
	if _, err := os.Stat(filepath.Join(home, "raft")); err == nil {
		return &failure{exitFailed, home + " holds the raft log of a member, and no config.toml: nothing was changed", "put its config.toml back; for a new member choose an empty folder"}
	}
	return nil
}

// found makes the first member's home.
func (a *app) found(l layout) error {
	home, err := filepath.Abs(l.home)
	if err != nil {
		return err
	}
	if err := untouched(home); err != nil {
		return err
	}
	m := l.member(home, l.id, l.advertise)
	if err := m.check(); err != nil {
		return err
	}
	files := security.InHome(home)
	ca, gossipKey, err := security.Found(files, l.cluster, a.now())
	if err != nil {
		return err
	}
	if err := ca.Admit(files, m.id, m.sans(), gossipKey, a.now()); err != nil {
		return err
	}
	tokens, err := a.firstTokens(home, l.tokenDir)
	if err != nil {
		return err
	}
	if err := manager.PermitFounding(home); err != nil {
		return err
	}
	if err := m.complete(); err != nil {
		return err
	}
	a.say("%s is the home of %s, the first member of cluster %s. Others reach it at %s.", home, m.id, m.cluster, m.advertise)
	a.say("The cluster's CA is %s: who has it can make members. Keep a copy of it offline.", files.CAKey)
	tokens()
	a.nextSteps(m)
	a.say("  For each further member: roundtable member add ID --home %s", home)
	return nil
}

// firstTokens draws a token of each role. Their hashes stay in the founder's home, until it has put them into the cluster's
// state; shown tells the texts.
func (a *app) firstTokens(home, dir string, more ...fsm.Token) (shown func(), err error) {
	kept := slices.Clone(more)
	var texts [][2]string
	for _, role := range []string{fsm.RoleAdmin, fsm.RoleOperate, fsm.RoleRead} {
		text, id, hash := security.NewToken()
		kept = append(kept, fsm.Token{ID: id, Name: role, Role: role, Hash: hash})
		texts = append(texts, [2]string{role, text})
	}
	if dir != "" {
		for _, t := range texts {
			if err := durable.Create(filepath.Join(dir, t[0]+".token"), []byte(t[1]+"\n")); err != nil {
				return nil, err
			}
		}
	}
	if err := manager.KeepTokens(home, kept); err != nil {
		return nil, err
	}
	return func() {
		if dir != "" {
			a.say("The tokens are in %s, one file for each role.", dir)
			return
		}
		a.say("")
		a.say("Tokens for the API, shown this once (the cluster keeps only their hashes; roundtable token add makes more):")
		for _, t := range texts {
			a.say("  %-8s %s", t[0], t[1])
		}
		a.say("")
	}, nil
}

// say prints a line for people.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stdout, format+"\n", args...) }

// nextSteps says what is left to do before a manager can run.
func (a *app) nextSteps(m member) {
	a.say("Next:")
	if !m.witness && m.keyFile == "" {
		a.say("  Put the producer's private key into %s, mode 0600 (or set signer.kind = \"keosd\").", filepath.Join(m.home, "keys"))
	} else if m.keyFile != "" {
		a.say("  The producer's key stays in %s; config.toml names it.", m.keyFile)
	}
	if !m.witness && len(m.peers) == 0 {
		a.say("  Name the p2p addresses of other nodes in %s: node.peers", filepath.Join(m.home, "config.toml"))
	}
	if _, err := config.Load(filepath.Join(m.home, "config.toml"), os.Environ(), nil); err != nil {
		for _, p := range config.Problems(err) {
			if p.Key != "signer.key_file" || m.keyFile != "" {
				a.say("  %s: %s (%s)", p.Key, p.Message, p.Hint)
			}
		}
	}
	a.say("  Start it: roundtable run --home %s", m.home)
}

// joinText reads the join string; it is better kept out of the command line, which others on the machine can see.
func (a *app) joinText(given string) (string, error) {
	if given != "-" {
		return given, nil
	}
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && line == "" {
		return "", usagef("such as: roundtable init --home DIR --join - < FILE", "no join string on stdin: %v", err)
	}
	return line, nil
}

// memberList reads --members.
func (l layout) memberList() ([][2]string, error) {
	var list [][2]string
	for _, text := range l.members {
		id, host, given := strings.Cut(text, "=")
		if !given {
			host = id
		}
		if slices.ContainsFunc(list, func(o [2]string) bool { return o[0] == id }) {
			return nil, usagef("give each member its own id", "--members: %q stands there twice", id)
		}
		if err := security.CheckHost(host); err != nil {
			return nil, usagef("such as --members m1=bp1.example.org,m2=bp2.example.org", "--members: %v", err)
		}
		list = append(list, [2]string{id, host})
	}
	for _, w := range l.witnesses {
		if !slices.ContainsFunc(list, func(o [2]string) bool { return o[0] == w }) {
			return nil, usagef("", "--witnesses: %q is none of --members", w)
		}
	}
	return list, nil
}
