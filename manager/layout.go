package manager

import (
	"context"

	"roundtable/node"
	"roundtable/node/versions"
)

// LayOut makes what a home needs to run one version of nodeos or another: versions/genesis, and current, which leads there. What is
// there stays. A manager with a node does so at each start, too.
func LayOut(home string) error {
	_, err := layOut(home)
	return err
}

func layOut(home string) (*versions.Home, error) {
	v, err := versions.Open(versions.Config{Dir: home, Version: func(ctx context.Context, path string) (string, error) {
		v, err := node.ReadVersion(ctx, path)
		return v.String(), err
	}})
	if err == nil {
		err = v.Ensure()
	}
	if err != nil {
		return nil, hinted(err)
	}
	return v, nil
}
