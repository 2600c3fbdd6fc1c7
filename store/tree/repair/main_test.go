package repair

import (
	"testing"

	"castar/store/storetest/gorace"
)

func TestMain(m *testing.M) { gorace.Main(m) }
