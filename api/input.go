package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// decode reads a JSON body into v, which points to a struct. There must be an object, so that a request made by mistake
// changes nothing; anything not known in it is named.
func decode(r *http.Request, v any) error {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return &Error{Status: http.StatusUnsupportedMediaType, Code: "wrong_type", Message: fmt.Sprintf("the body is said to be %.64q", kind), Hint: "send JSON, with Content-Type: application/json"}
		}
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit), Hint: "a request of this API is small: " + fieldsHint(v), refused: reasonTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Status: http.StatusRequestTimeout, Code: "too_slow", Message: fmt.Sprintf("the request did not come within %s", readTime), Hint: "send it again, all at once"}
	case err != nil:
		return badInput("send the request again", "the body could not be read: %v", err)
	case !utf8.Valid(body):
		return badInput("send JSON in UTF-8", "the body is not UTF-8")
	case len(bytes.TrimSpace(body)) == 0:
		return badInput("send a JSON object, {} at least; "+fieldsHint(v), "the body is empty")
	case bytes.Equal(bytes.TrimSpace(body), []byte("null")):
		return badInput("send a JSON object, {} at least; "+fieldsHint(v), "the body is null")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(v)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return badInput(fieldsHint(v), "field %q must be %s, not %s", kind.Field, jsonKind(kind.Type), article(kind.Value))
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field "):
		return badInput(fieldsHint(v), "unknown field %.64s", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case err != nil:
		return badInput(fieldsHint(v), "the body is not the JSON object that is wanted: %v", err)
	case len(bytes.TrimSpace(body[d.InputOffset():])) > 0:
		return badInput("send one JSON object", "something follows the JSON object")
	}
	return onceEach(body, v)
}

// onceEach refuses what encoding/json lets pass: a field given twice, of which one would be ignored, and one written in
// another case.
func onceEach(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	_, _ = d.Token() // the object's brace: it was decoded before
	given := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return badInput(fieldsHint(v), "the body is not the JSON object that is wanted: %v", err)
		}
		name, _ := token.(string)
		if given[name] {
			return badInput("give each field once", "the field %.64q is given twice", name)
		}
		given[name] = true
		if !slices.Contains(fields(v), name) {
			return badInput(fieldsHint(v), "unknown field %.64q", name)
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return badInput(fieldsHint(v), "the body is not the JSON object that is wanted: %v", err)
		}
		if inner := innerOf(v, name); inner != nil && skipped[0] == '{' {
			if err := onceEach(skipped, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// innerOf is an empty one of the object that a field takes; nil where it takes another kind of value.
func innerOf(v any, name string) any {
	t := reflect.TypeOf(v).Elem().Field(slices.Index(fields(v), name)).Type
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil
	}
	return reflect.New(t.Elem()).Interface()
}

// jsonKind is a Go type as JSON calls it.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonKind(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint64, reflect.Uint32:
		return "a whole number from 0 on"
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "a list"
	}
	return "a " + t.String()
}

// article is what encoding/json found, as people say it.
func article(found string) string {
	switch kind, value, number := strings.Cut(found, " "); {
	case number && kind == "number": // the number is shown where it does not fit
		return fmt.Sprintf("%.32s", value)
	case found == "array" || found == "object":
		return "an " + found
	}
	return "a " + found
}

// fields are the names of what a request takes.
func fields(v any) (names []string) {
	t := reflect.TypeOf(v).Elem()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// fieldsHint names the fields that a request takes.
func fieldsHint(v any) string { return "the fields are: " + strings.Join(fields(v), ", ") }
