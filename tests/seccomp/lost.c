// SPDX-License-Identifier: MIT
/*
 * lost.c - what the tests need beside the recorder: hmmu_source_lost(), and a notifier that
 * says, if told so, that nobody has to be called.
 */
#include "sec.h"

#include "../hooks/recorder.h"

uint32_t sec_lost;

void hmmu_source_lost(unsigned int bit)
{
	(void)bit;
	hmmu_add_seqcst(&sec_lost, 1);
}

bool sec_quiet;
uint32_t sec_quiet_starts;

bool hmmu_source_start_quiet(struct hmmu_source_event *ev, enum mmu_notifier_event event,
			     unsigned long start, unsigned long end)
{
	if (!sec_quiet)
		return false;
	hmmu_add_seqcst(&sec_quiet_starts, 1);
	hmmu_source_start(ev, event, start, end);
	return true;
}

void sec_all_closed(void)
{
	while (rec_open())
		raw(SYS_sched_yield);
}
