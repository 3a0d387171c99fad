# SPDX-License-Identifier: MIT
# Thin: meson and ninja do the work. `make run` and `make test` install what a fresh
# Debian 12 lacks (scripts/setup) and build.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
# The compiler that the tests ask for; meson remembers it.
CC ?= cc

.PHONY: all run test verify bench instructions install format clean help

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo 'make run       install what is missing, build, run `hmmu torture` (15 s)'
	@echo 'make test      the same, then all tests (under 10 minutes)'
	@echo 'make verify    longer proof: more schedules, clang-tidy, longer stress'
	@echo 'make bench     the figures, side by side with the reference'
	@echo 'make install   headers, library, command, hmmu.pc (PREFIX, DESTDIR)'

$(BUILD)/build.ninja: meson.build
	@scripts/setup run
	@meson setup $(BUILD) --prefix=$(PREFIX) -Dlibdir=lib $(MESON_FLAGS) >/dev/null || \
		{ cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }

run: all
	@$(BUILD)/tools/hmmu torture

test:
	@scripts/setup test
	@scripts/test

verify:
	@scripts/setup test
	@scripts/test verify

bench: all
	@ninja -C $(BUILD) bench

instructions: all
	@ninja -C $(BUILD) instructions

# The prefix is settled before ninja runs: what is installed where is written then.
install: $(BUILD)/build.ninja
	@meson configure $(BUILD) --prefix=$(PREFIX) >/dev/null
	@ninja -C $(BUILD)
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

format:
	@git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

clean:
	@rm -rf $(BUILD) $(BUILD)-*
