package simulator

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

func noConversation(id string) *refusal {
	return &refusal{status: http.StatusNotFound, message: "Conversation with id '" + id + "' not found."}
}

// itemsOf returns a request's items as a conversation keeps them: each has an id, and a
// message has a list of parts.
func itemsOf(input list) list {
	var out list
	for _, item := range input {
		switch v := item.(type) {
		case string:
			item = object{"type": "message", "role": "user", "content": v}
		case object:
		default:
			continue
		}
		o := maps.Clone(item.(object))
		if text, ok := o["content"].(string); ok {
			part := object{"type": "input_text", "text": text}
			if o["role"] == "assistant" {
				part["type"], part["annotations"] = "output_text", list{}
			}
			o["content"] = list{part}
		}
		if o["id"] == nil {
			prefix := "item_"
			if o["role"] != nil {
				prefix = "msg_"
			}
			o["id"] = prefix + newID()
		}
		if o["type"] == nil {
			o["type"] = "message"
		}
		o["status"] = "completed"
		out = append(out, o)
	}
	return out
}

func createConversation(c *inquiry) (any, *refusal) {
	st := &state{shown: object{"id": "conv_" + newID(), "object": "conversation", "created_at": time.Now().Unix(), "metadata": object{}}}
	if m, ok := c.body["metadata"].(object); ok {
		st.shown["metadata"] = m
	}
	st.add(asList(c.body["items"]))
	c.account.states.put(str(st.shown["id"]), st)
	return st.shown, nil
}

// add appends items to a conversation and returns them as it keeps them.
func (st *state) add(input list) list {
	said, _ := responseParts(input)
	items := itemsOf(input)
	st.said = slices.Concat(st.said, said)
	st.items = slices.Concat(st.items, items)
	return items
}

// conversation returns the conversation that the path names.
func conversation(answer func(*inquiry, *state) any) func(*inquiry) (any, *refusal) {
	return func(c *inquiry) (any, *refusal) {
		st := c.account.states.get(c.id, 0)
		if st == nil {
			return nil, noConversation(c.id)
		}
		return answer(c, st), nil
	}
}

func showConversation(_ *inquiry, st *state) any { return st.shown }

func deleteConversation(c *inquiry, _ *state) any {
	c.account.states.byID.Remove(c.id)
	return object{"id": c.id, "object": "conversation.deleted", "deleted": true}
}

func addItems(c *inquiry, st *state) any { return itemList(st.add(asList(c.body["items"])), false) }

// listItems lists the newest items first unless order is asc.
func listItems(c *inquiry, st *state) any {
	items := slices.Clone(st.items)
	query := c.request.URL.Query()
	if query.Get("order") != "asc" {
		slices.Reverse(items)
	}
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(items, func(v any) bool { return idOf(v) == after })
		items = items[i+1:]
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 {
		limit = 20
	}
	return itemList(items[:min(limit, len(items))], limit < len(items))
}

func itemList(items list, more bool) object {
	o := object{"object": "list", "data": slices.Concat(list{}, items), "first_id": nil, "last_id": nil, "has_more": more}
	if len(items) > 0 {
		o["first_id"], o["last_id"] = idOf(items[0]), idOf(items[len(items)-1])
	}
	return o
}
