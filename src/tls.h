/* SPDX-License-Identifier: MIT */
/*
 * tls.h - what hmmu keeps per thread: 48 bytes, initial-exec (a hook may run before
 * malloc works and inside malloc: nothing is allocated at first touch), zero at
 * birth.
 */
#ifndef HMMU_TLS_H
#define HMMU_TLS_H

#include <stdint.h>

struct mm_struct;
struct rc_pins;

/* A callback that runs in this thread; the innermost first. On the runner's stack. */
struct hmmu_frame {
	const void *subject; /* whose */
	struct hmmu_frame *outer;
	int set_seq; /* debug: it called mmu_interval_set_seq() */
};

/* A deferred work that runs in this thread; the innermost first. */
struct hmmu_working {
	const struct mm_struct *mm;
	struct hmmu_working *outer;
};

struct hmmu_tls {
	struct mm_struct *held;	      /* whose lock this thread holds, or is taking */
	struct hmmu_frame *frame;     /* NULL: not in a callback */
	uint32_t slot_hint;	      /* 0: none yet; else the slot it used last, + 1 */
	uint32_t changes;	      /* of its own that are open in the anchor (source.c) */
	struct hmmu_working *working; /* NULL: not in a deferred work */
	struct rc_pins *pins;	      /* NULL: none yet; regcache/pins.c */
};
_Static_assert(sizeof(struct hmmu_tls) <= 64, "more does not load by dlopen");

#define HMMU_TLS_MODEL __attribute__((tls_model("initial-exec")))
extern __thread struct hmmu_tls hmmu_tls HMMU_TLS_MODEL;

#endif /* HMMU_TLS_H */
