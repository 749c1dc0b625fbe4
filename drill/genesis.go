package drill

import (
	"encoding/json"
	"fmt"
	"time"
)

// Genesis is the first state of a chain for trying things out, which begins now: one key makes every block. It is what
// nodeos' --genesis-json reads.
func Genesis(key string, now time.Time) ([]byte, error) {
	genesis := map[string]any{
		"initial_timestamp": slotTime(slotAt(now)).Format("2006-01-02T15:04:05.000"),
		"initial_key":       key,
		"initial_configuration": map[string]any{
			"max_block_net_usage": 1048576, "target_block_net_usage_pct": 1000, "max_transaction_net_usage": 524288, "base_per_transaction_net_usage": 12,
			"net_usage_leeway": 500, "context_free_discount_net_usage_num": 20, "context_free_discount_net_usage_den": 100, "max_block_cpu_usage": 200000,
			"target_block_cpu_usage_pct": 1000, "max_transaction_cpu_usage": 150000, "min_transaction_cpu_usage": 100, "max_transaction_lifetime": 3600,
			"deferred_trx_expiration_window": 600, "max_transaction_delay": 3888000, "max_inline_action_size": 4096, "max_inline_action_depth": 4, "max_authority_depth": 6,
		},
	}
	b, err := json.MarshalIndent(genesis, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("drill: genesis: %w", err)
	}
	return b, nil
}
