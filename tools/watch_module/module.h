/* SPDX-License-Identifier: MIT */
/*
 * module.h - the preloaded part of `hmmu watch`, inside.
 *
 *	libc's entry or symbol
 *	   |  hooks (src/source/hooks/)
 *	   v
 *	__wrap_hmmu_hook_munmap() ...	wrap.c: what was called, registers, time
 *	   |
 *	   v
 *	hmmu_hook_munmap(): start, the system call, end
 *	   |			  start and end reach watch_ops (events.c), a whole-mm
 *	   v			  notifier: the ranges
 *	back in wrap.c: the stack (stack.c), one event per range into the ring (ring.c)
 *
 * The module is libhmmu itself with these files added, under libhmmu's soname: a watched
 * program that uses libhmmu is served by this copy, for a process can have its entries
 * patched only once.
 *
 * CONTEXT of everything but attach.c: a hook's. No malloc, no lock, no stdio, no system
 * call (a program may have forbidden all but its own to itself), little stack.
 */
#ifndef HMMU_WATCH_MODULE_H
#define HMMU_WATCH_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define WATCH_CALL_RANGES 4

/* One call under way, on its wrapper's stack. Signal handlers nest. */
struct watch_call {
	struct watch_call *outer;
	uint64_t caller;
	uint64_t begun; /* tsc */
	uint64_t told;	/* tsc: the last start callback returned */
	uint64_t ended; /* tsc: the first end callback */
	uint32_t detail;
	uint8_t op;
	uint8_t n;
	uint8_t flags;
	struct {
		uint64_t start, end;
		uint8_t flags;
	} range[WATCH_CALL_RANGES];
	struct watch_regs regs;
};

/* NULL until attached; both mapped for the life of the process. */
extern struct watch_header *watch_header;
extern struct watch_region *watch_region;
/* Events are written: not those of the library's own start. */
extern bool watch_on;

extern __thread struct watch_call *watch_current __attribute__((tls_model("initial-exec")));

/* events.c */
extern const struct mmu_notifier_ops watch_ops;
void watch_publish(struct watch_call *call, bool failed);
void watch_publish_created(struct watch_call *call, uint64_t start, uint64_t end);
void watch_forget(void); /* a forked child: what was under way is its parent's */

/* ring.c: the place, or NULL: full, and counted */
struct watch_event *watch_event_reserve(uint64_t *index);
void watch_event_commit(struct watch_event *e, uint64_t index);
struct watch_blob *watch_blob_reserve(uint32_t payload, uint64_t *place);
void watch_blob_commit(struct watch_blob *b, uint64_t place, uint32_t used, uint32_t kind,
		       uint32_t stack);

/* stack.c */
void watch_stack_learn(void);
uint32_t watch_tid(void);
uint32_t watch_stack_of(const struct watch_regs *regs, uint8_t *flags);

/* maps.c: this process's mappings, told and learnt. System calls: at the start only. */
void watch_maps_tell(void);

#if defined(__x86_64__)
/* The registers at this place of the caller. Its frame stays until the event is out. */
static inline __attribute__((always_inline)) void watch_grab(struct watch_regs *r)
{
	__asm__ volatile("lea 0(%%rip), %%rax\n\t"
			 "mov %%rax, 0(%0)\n\t"
			 "mov %%rsp, 8(%0)\n\t"
			 "mov %%rbp, 16(%0)\n\t"
			 "mov %%rbx, 24(%0)\n\t"
			 "mov %%r12, 32(%0)\n\t"
			 "mov %%r13, 40(%0)\n\t"
			 "mov %%r14, 48(%0)\n\t"
			 "mov %%r15, 56(%0)"
			 :
			 : "r"(r)
			 : "rax", "memory");
}
#else
static inline void watch_grab(struct watch_regs *r)
{
	__builtin_memset(r, 0, sizeof(*r));
}
#endif

#endif /* HMMU_WATCH_MODULE_H */
