// SPDX-License-Identifier: MIT
/*
 * events.c - the whole-mm notifier, and events made of what it is told.
 *
 * start() notes the range in the call that is under way in this thread (wrap.c); the
 * event is written when the call is over. A change that no wrapper stands in front of is
 * written at its end, alone: fork (libc calls the library's atfork handlers), and
 * whatever hook is younger than wrap.c.
 */
#include <hmmu/mmu_notifier.h>

#include "atomic.h"
#include "module.h"
#include "source/hooks/hooks.h"

__thread struct watch_call *watch_current __attribute__((tls_model("initial-exec")));

/* Changes of this thread without a wrapper, between start and end: how many, when the
 * first began, when it had been told. */
static __thread struct {
	uint32_t depth;
	uint64_t begun, told;
} bare __attribute__((tls_model("initial-exec")));

void watch_forget(void)
{
	watch_current = NULL;
	bare.depth = 0;
}

static bool is_bare(const struct mmu_notifier_range *range)
{
	return range->event == MMU_NOTIFY_PROTECTION_PAGE || !watch_current;
}

static uint32_t clamp(uint64_t cycles)
{
	return cycles > UINT32_MAX ? UINT32_MAX : (uint32_t)cycles;
}

static void write_event(const struct watch_call *call, uint64_t start, uint64_t end,
			uint32_t stack, unsigned int flags, uint64_t took)
{
	struct watch_event *e;
	uint64_t index;

	e = watch_event_reserve(&index);
	if (!e)
		return;
	e->tsc = call->begun;
	e->start = start;
	e->end = end;
	e->caller = call->caller;
	e->stack = stack;
	e->tid = watch_tid();
	e->detail = call->detail;
	e->op = call->op;
	e->flags = (uint8_t)flags;
	e->call_tsc = clamp(took);
	e->hook_tsc = clamp(watch_now() - call->begun - took);
	watch_event_commit(e, index);
}

void watch_publish(struct watch_call *call, bool failed)
{
	uint64_t took = call->ended > call->told ? call->ended - call->told : 0;
	uint8_t flags = failed ? WATCH_FAILED : 0;
	uint32_t stack;

	if (!watch_on)
		return;
	stack = watch_stack_of(&call->regs, &flags);
	for (unsigned int i = 0; i < call->n; i++) {
		write_event(call, call->range[i].start, call->range[i].end, stack,
			    flags | call->range[i].flags | (i ? WATCH_SECOND : 0), took);
		/* The time of a call is told once. */
		call->begun = watch_now();
		took = 0;
	}
}

void watch_publish_created(struct watch_call *call, uint64_t start, uint64_t end)
{
	if (!watch_on)
		return;
	call->begun = watch_now();
	write_event(call, start, (end + 4095) & ~UINT64_C(4095), 0, WATCH_CREATES, 0);
}

static int told_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	struct watch_call *call = watch_current;

	if (is_bare(range)) {
		if (!bare.depth++)
			bare.begun = watch_now();
		bare.told = watch_now();
		return 0;
	}
	if (call->n < WATCH_CALL_RANGES) {
		call->range[call->n].start = range->start;
		call->range[call->n].end = range->end;
		call->range[call->n].flags =
			(uint8_t)((range->end >= HMMU_TOP ? WATCH_ALL : 0) |
				  (range->phase == HMMU_PHASE_LOST ? WATCH_LOST : 0));
		call->n++;
	}
	call->told = watch_now();
	return 0;
}

static void publish_bare(const struct mmu_notifier_range *range)
{
	struct watch_call call = {
		.caller = (uint64_t)__builtin_return_address(0),
		.begun = bare.begun,
		.told = bare.told,
		.ended = watch_now(),
		.op = range->event == MMU_NOTIFY_PROTECTION_PAGE ? WATCH_OP_FORK
								 : WATCH_OP_OTHER,
		.n = 1,
	};

	call.range[0].start = range->start;
	call.range[0].end = range->end;
	call.range[0].flags = (uint8_t)((range->end >= HMMU_TOP ? WATCH_ALL : 0) |
					(range->phase == HMMU_PHASE_LOST ? WATCH_LOST : 0));
	watch_grab(&call.regs);
	watch_publish(&call, false);
}

static void told_end(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	struct watch_call *call = watch_current;

	if (is_bare(range)) {
		publish_bare(range);
		if (bare.depth)
			bare.depth--;
	} else if (!call->ended) {
		call->ended = watch_now();
	}
}

const struct mmu_notifier_ops watch_ops = {
	.invalidate_range_start = told_start,
	.invalidate_range_end = told_end,
};
