package worker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
)

// NewKey makes the text of a file of age identities with one identity in it, as age-keygen does, and its recipient.
func NewKey(now time.Time) (text []byte, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", fmt.Errorf("worker: make a key: %w", err)
	}
	recipient = id.Recipient().String()
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", now.UTC().Format(time.RFC3339), recipient, id), recipient, nil
}

// errKey says nothing of what is in the file: it may be a key nearly right.
var errKey = errors.New("it is no file of age identities")

// keys reads the text of a file of identities: who can read, and who what is written is for.
func (r Repository) keys() (all []age.Identity, recipients []age.Recipient, err error) {
	if r.Key != "" {
		if all, err = age.ParseIdentities(strings.NewReader(r.Key)); err != nil {
			return nil, nil, errKey
		}
	}
	for _, id := range all {
		switch id := id.(type) {
		case *age.X25519Identity:
			recipients = append(recipients, id.Recipient())
		case *age.HybridIdentity:
			recipients = append(recipients, id.Recipient())
		default:
			return nil, nil, errors.New("an age identity of a kind that has no recipient")
		}
	}
	for _, text := range r.Recipients {
		more, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, nil, fmt.Errorf("an age recipient that is none: %.12q", text)
		}
		recipients = append(recipients, more...)
	}
	return all, recipients, nil
}
