// SPDX-License-Identifier: MIT
/*
 * test_armed.c - a mapping is replaced after arm has looked at it, before the subscription is
 * called armed: it is not, and the next read arms again.
 *
 * The replacement is made from the arming thread itself, in place of the answer of its last
 * system call (hmmu_syscall_hook).
 */
#include "net.h"

#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "source/userfaultfd/abi.h"

static char *place;
static uint32_t replace; /* the next look at it is the last before it is replaced */

static long look(long nr, const long args[6])
{
	long ret = hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	uint32_t one = 1;

	if (nr == SYS_ioctl && (unsigned long)args[1] == HMMU_PAGEMAP_SCAN &&
	    hmmu_cas_seqcst(&replace, &one, 0)) {
		hmmu_syscall6(SYS_munmap, (long)place, PAGE, 0, 0, 0, 0);
		hmmu_syscall6(SYS_mmap, (long)place, PAGE, RW, ANON | MAP_FIXED, -1, 0);
		net_quiet();
	}
	return ret;
}

ISOLATED_BOTH(replaced_after_the_look)
{
	struct mm_struct *mm = net_open(sources);
	unsigned long seq;
	struct watch w;

	place = raw_map(1);
	watch_add(&w, mm, place, PAGE);
	hmmu_syscall_hook = look;
	hmmu_store_seqcst(&replace, 1);
	seq = watch_begin(&w);
	must(hmmu_load_seqcst(&replace) == 0 && watch_calls(&w) >= 1);
	/* What it read may be of the page that is gone. */
	must(!watch_ok(&w, seq));
	/* The new one is armed: its change is told. */
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(raw_munmap(place, PAGE) == 0);
	must(!watch_ok(&w, seq));
	net_quiet();
	must(!watch_ok(&w, seq));
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replaced_after_the_look_alone),
		cmocka_unit_test(replaced_after_the_look_both),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
