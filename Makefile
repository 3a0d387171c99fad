# SPDX-License-Identifier: MIT
# Thin: meson and ninja do the work. `make run` and `make test` install what a fresh
# Debian 12 lacks (scripts/setup) and build.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
# The compiler that the tests ask for; meson remembers it.
CC ?= cc
MINUTES ?= 10

.PHONY: all run test verify oracle soak bench bench-peers hmm-selftest budgets install uninstall format clean help

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo 'make run       install what is missing, build, run `hmmu torture` (15 s)'
	@echo 'make test      build, then the tests (ten minutes)'
	@echo 'make verify    longer proof, 90 minutes: clang, sanitizers, all mutants, fuzzing, ...'
	@echo 'make oracle    compare with the real kernel, in a virtual machine'
	@echo 'make hmm-selftest  Linux'"'"'s own tests of HMM, unmodified, against hmmu'
	@echo 'make soak      every source under load, signals, forks (MINUTES=10); node and java'
	@echo 'make bench     the figures, side by side with the reference; plots; bench/results/'
	@echo 'make bench-peers  registration caches side by side: UCX, a mutex + tree; plots'
	@echo 'make budgets   instructions and shared lines per operation, counted (valgrind)'
	@echo 'make install   headers, library, command, hmmu.pc (PREFIX, DESTDIR)'
	@echo 'make uninstall what the last one installed'

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
	@scripts/setup $(if $(PARTS),$(if $(filter oracle,$(PARTS)),oracle,verify),oracle)
	@scripts/verify $(PARTS)

oracle: all
	@scripts/setup oracle
	@scripts/oracle --build $(BUILD)
	@scripts/rdma --build $(BUILD)

soak: all
	@scripts/soak $(BUILD)/tools/hmmu --minutes $(MINUTES)
	@tests/watch/soak.sh $(BUILD)/tools/hmmu

hmm-selftest: all
	@scripts/setup hmm-selftest
	@scripts/hmm-selftest --build $(BUILD)

bench: all
	@ninja -C $(BUILD) bench

# 77: this machine refuses what the staleness test needs; it says what.
bench-peers: all
	@$(BUILD)/bench/peers/hmmu-peers --plots $(BUILD)/bench/peers/plots
	@echo
	@if [ -x $(BUILD)/bench/stale/hmmu-stale ]; then \
		$(BUILD)/bench/stale/hmmu-stale || [ $$? = 77 ]; \
	else echo 'stale generations: n/a, built without libucx-dev or liburing-dev'; fi

budgets: all
	@ninja -C $(BUILD) budgets

# The prefix is settled before ninja runs: what is installed where is written then.
# By sudo, what is built stays the user's: later builds write there.
owner = $(if $(SUDO_USER),sudo -u $(SUDO_USER) --)
install: $(BUILD)/build.ninja
	@$(owner) meson configure $(BUILD) --prefix=$(PREFIX) >/dev/null
	@$(owner) ninja -C $(BUILD)
	@meson install -C $(BUILD) --no-rebuild --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@echo 'installed in $(DESTDIR)$(PREFIX)$(if $(DESTDIR),,; now: sudo ldconfig)'

# What the last install wrote, wherever that was.
uninstall:
	@ninja -C $(BUILD) uninstall

format:
	@git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

clean:
	@rm -rf $(BUILD) $(BUILD)-*
