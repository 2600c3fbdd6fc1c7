package config

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"castar/store"
	"castar/store/bigtable"
)

// bigtableKind is the directories in a table of Bigtable.
type bigtableKind struct {
	Project    string  `toml:"project_id"`
	Instance   string  `toml:"instance_name"`
	Table      string  `toml:"table_name"`
	Family     string  `toml:"family_name"`
	ReadOnly   bool    `toml:"is_read_only"`
	Channels   int     `toml:"channel_size"`
	Timeout    seconds `toml:"timeout"`
	AppProfile string  `toml:"app_profile_id"`
	ruled
}

// seconds is a duration, which upstream writes as a string of a number.
type seconds time.Duration

// UnmarshalTOML implements toml.Unmarshaler.
func (s *seconds) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case int64:
		return s.set(strconv.FormatInt(v, 10))
	case float64:
		return s.set(strconv.FormatFloat(v, 'f', -1, 64))
	case string:
		return s.set(v)
	}
	return errors.New("timeout: want a number of seconds, at most a day")
}

func (s *seconds) set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n <= 24*60*60) {
		return fmt.Errorf("timeout %q: want a number of seconds, at most a day", text)
	}
	*s = seconds(n * float64(time.Second))
	return nil
}

func (k *bigtableKind) setURL(_, rest string) error {
	u, err := url.Parse("bigtable:" + rest)
	if err != nil {
		return errors.New("invalid URL")
	}
	k.Instance = u.Host
	values, err := queryOf(rest)
	if err != nil {
		return err
	}
	return setQuery(values, map[string]func(string) error{
		"project_id": setText(&k.Project), "table_name": setText(&k.Table), "family_name": setText(&k.Family),
		"app_profile_id": setText(&k.AppProfile), "is_read_only": setBool(&k.ReadOnly), "timeout": k.Timeout.set,
		ruleKey: setRule(&k.Rule),
		"channel_size": func(s string) (err error) {
			if k.Channels, err = strconv.Atoi(s); err != nil || k.Channels < 1 {
				return errors.New("want a whole number from 1 on")
			}
			return nil
		},
	})
}

func (k *bigtableKind) config() bigtable.Config {
	return bigtable.Config{
		Project: k.Project, Instance: k.Instance, Table: k.Table, Family: k.Family, AppProfile: k.AppProfile,
		Channels: k.Channels, Timeout: time.Duration(k.Timeout), ReadOnly: k.ReadOnly,
	}
}

func (k *bigtableKind) check() error      { return k.config().Check() }
func (k *bigtableKind) fits(t table) bool { return t != tableBlobs }
func (k *bigtableKind) detail() string    { return k.Instance + "/" + k.Table }

func (k *bigtableKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	c := k.config()
	c.ReadOnly = c.ReadOnly || o.ReadOnly
	return bigtable.Open(ctx, c)
}
