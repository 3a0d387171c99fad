/* SPDX-License-Identifier: MIT */
/*
 * plants.h - bugs of error paths, planted one at a time, each to be found by the invariant
 * that is named with it. They are put where the library calls itself across its files, or
 * the system: a clean-up that is forgotten after a failure is a close() that is not made.
 */
#ifndef HMMU_TEST_PLANTS_H
#define HMMU_TEST_PLANTS_H

#include <stdbool.h>

/* name, where, in which mode, what finds it, what it is */
#define PLANTS(X)                                                                             \
	X(NONE, "explicit", ONCE, "", "no bug")                                               \
	X(LEAK_FD, "userfaultfd", ONCE, "descriptors", "an error path forgets to close")      \
	X(LEAK_MAP, "userfaultfd", ONCE, "memory", "an error path forgets to unmap")          \
	X(LEAK_THREAD, "hooks+userfaultfd", ONCE, "threads", "an error path forgets to join") \
	X(LEAK_RECLAIMER, "hooks", ONCE, "threads", "a failed open leaves its reclaimer")     \
	X(IGNORED_REGISTER, "userfaultfd", ONCE, "stale",                                     \
	  "what could not be registered passes for watched")                                  \
	X(IGNORED_INSERT, "explicit", ONCE, "crash", "insert without memory answers 0")       \
	X(LOST_WAKE, "explicit", ONCE, "hang", "a wait broken off loses the wake-up")         \
	X(UNDOCUMENTED, "userfaultfd", ONCE, "undocumented",                                  \
	  "open answers what the kernel answered")                                            \
	X(ERRNO, "hooks", ONCE, "errno", "a failed open leaves errno changed")                \
	X(NO_WHY, "userfaultfd", ONCE, "why", "a failed open gives no reason")                \
	X(NO_SECOND, "userfaultfd", ONCE, "second", "a failed open is remembered for good")

enum fault_plant {
#define X(id, where, mode, finds, what) PLANT_##id,
	PLANTS(X)
#undef X
		PLANT_NR,
};

/* True: the system call is not made, *ret is its answer. */
bool plant_swallows(long nr, const long args[6], long *ret);
bool plant_forgets_join(void);

#endif /* HMMU_TEST_PLANTS_H */
