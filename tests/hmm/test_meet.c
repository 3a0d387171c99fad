// SPDX-License-Identifier: MIT
/*
 * test_meet.c - an invalidation in the middle, at each system call of a fault; a source
 * that is lost; pages on a device; a write beside a tag; where it must not be called.
 */
#include <sys/syscall.h>
#include <sys/wait.h>

#include "play.h"
#include "world.h"

#include "arch/syscall.h"
#include "devmem/find.h"
#include "report.h"
#include "source/source.h"
#include "source/userfaultfd/abi.h"

#define CHUNK (32UL << 20)

static unsigned long *pfns;

/* ---- an invalidation by another thread, before the N-th call ------------------ */

static struct {
	unsigned int at, calls, populates;
	unsigned long start, end;
} meeting;

static void *invalidates(void *arg)
{
	invalidate(mm, meeting.start, meeting.end);
	return arg;
}

static bool meet(long nr, const long args[6], long *ret)
{
	pthread_t thread;

	meeting.populates += nr == SYS_madvise && args[1];
	if (++meeting.calls != meeting.at)
		return false;
	hmmu_syscall_hook = NULL;
	must(pthread_create(&thread, NULL, invalidates, NULL) == 0);
	must(pthread_join(thread, NULL) == 0);
	play(0);
	play_before = meet;
	return false;
}

static int fault_meeting(unsigned char *at, size_t pages, unsigned int n, unsigned long want)
{
	struct hmm_range range = {
		.notifier = &all,
		.notifier_seq = mmu_interval_read_begin(&all),
		.start = (unsigned long)at,
		.end = (unsigned long)at + pages * PAGE,
		.hmm_pfns = pfns,
		.default_flags = want,
	};
	int ret;

	meeting.at = n;
	meeting.calls = 0;
	meeting.populates = 0;
	meeting.start = (unsigned long)at + PAGE;
	meeting.end = meeting.start + PAGE;
	play(0);
	play_before = meet;
	ret = quiet(hmm_range_fault(&range));
	hmmu_syscall_hook = NULL;
	/* The driver's own question gives the same answer, always. */
	must((ret == -EBUSY) == mmu_interval_read_retry(&all, range.notifier_seq));
	return ret;
}

static void collides_at_each_call(void **state)
{
	for (unsigned long want = 0; want < 3; want++) {
		static const unsigned long wants[] = {0, READ, WRITE};
		unsigned int n = 1;

		for (;; n++) {
			unsigned char *at = map_anon(20);
			int ret = fault_meeting(at, 20, n, wants[want]);

			munmap(at, 20 * PAGE);
			if (!ret)
				break;
			assert_int_equal(ret, -EBUSY);
		}
		/* Two are opened, mappings and pages asked, two closed; and a fault. */
		assert_true(n > (want ? 9 : 6));
	}
}

/* A long fault does not go on once it is in vain. */
static void gives_up_early(void **state)
{
	size_t pages = 4 * CHUNK / PAGE;
	unsigned char *at = map(pages, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	unsigned int n = 0;

	/* At its first populate. */
	while (meeting.populates != 1 || meeting.calls < meeting.at || !n) {
		n++;
		madvise(at, pages * PAGE, MADV_DONTNEED);
		assert_int_equal(fault_meeting(at, pages, n, WRITE), -EBUSY);
		if (meeting.populates)
			break;
	}
	assert_int_equal(meeting.populates, 1);
	madvise(at, pages * PAGE, MADV_DONTNEED);
	assert_int_equal(fault_meeting(at, pages, ~0U, WRITE), 0);
	assert_int_equal(meeting.populates, 4);
	munmap(at, pages * PAGE);
}

static void collided_before(void **state)
{
	unsigned char *at = map_anon(2);
	struct hmm_range range = {
		.notifier = &all,
		.notifier_seq = mmu_interval_read_begin(&all),
		.start = (unsigned long)at,
		.end = (unsigned long)at + 2 * PAGE,
		.hmm_pfns = pfns,
		.default_flags = WRITE,
	};

	invalidate(mm, range.start, range.end);
	play(0);
	assert_int_equal(hmm_range_fault(&range), -EBUSY);
	assert_int_equal(played, 0);
	hmmu_syscall_hook = NULL;
	/* One that is open: the same. */
	munmap(at, 2 * PAGE);
}

/* ---- a source that sees nothing any more ---------------------------------------- */

static int in_child(int (*fn)(unsigned int), unsigned int arg)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid)
		_exit(fn(arg));
	must(waitpid(pid, &status, 0) == pid);
	must(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void assert_child(int (*fn)(unsigned int), unsigned int arg)
{
	int ret = in_child(fn, arg);

	if (ret == 77)
		skip();
	assert_int_equal(ret, 0);
}

/* A source that sees nothing any more: no sequence will ever be good. */
static int lost(unsigned int source)
{
	unsigned char *at = map_anon(1);

	if (world_open(source))
		return 77;
	must(fault(at, 1, pfns, READ, 0) == 0);
	hmmu_source_unwatch(source);
	api_guard(5);
	must(fault(at, 1, pfns, READ, 0) == -ENODEV);
	return 0;
}

static void source_lost(void **state)
{
	assert_child(lost, HMMU_SOURCE_HOOKS);
}

/* ---- a write beside a tag ------------------------------------------------------ */

static unsigned char *tagged;
static bool before_tag;

static bool is_tag(long nr, const long args[6])
{
	const struct hmmu_pm_scan *scan = (const void *)args[2];

	return nr == SYS_ioctl && (unsigned long)args[1] == HMMU_PAGEMAP_SCAN &&
	       (scan->flags & HMMU_PM_WP_MATCHING);
}

static bool write_before(long nr, const long args[6], long *ret)
{
	if (before_tag && is_tag(nr, args))
		tagged[PAGE] = 1;
	return false;
}

static void write_after(long nr, const long args[6], long ret)
{
	if (!before_tag && is_tag(nr, args))
		tagged[PAGE] = 1;
}

enum { BEFORE = 1, THERE = 2 /* nothing is faulted in */ };

/* In a child: the mm of the others does not tag. */
static int beside_a_tag(unsigned int how)
{
	const struct hmmu_mm_options o = {.size = sizeof(o),
					  .sources = HMMU_SOURCE_USERFAULTFD};
	struct probe probe;
	struct hmm_range range = {
		.notifier = &probe.sub,
		.hmm_pfns = pfns,
		.default_flags = READ,
		.flags = HMM_RANGE_TAG,
	};

	if (hmmu_mm_open(&mm, &o))
		return 77;
	before_tag = how & BEFORE;
	tagged = map_anon(4);
	for (int i = 0; (how & THERE) && i < 4; i++)
		look_into(tagged + i * PAGE);
	probe_add(&probe, mm, (unsigned long)tagged, 4 * PAGE);
	range.start = (unsigned long)tagged;
	range.end = range.start + 4 * PAGE;
	range.notifier_seq = mmu_interval_read_begin(&probe.sub);
	play(0);
	play_before = write_before;
	play_after = write_after;
	must(hmm_range_fault(&range) == 0);
	hmmu_syscall_hook = NULL;
	/* The zero page was answered, or it was looked at after the write. */
	must(FLAGS_OF(pfns[0]) == (VALID | HMM_PFN_ZERO));
	must(!hmm_range_valid(&range) || FLAGS_OF(pfns[1]) == RDWR);
	must(hmm_range_valid(&range) == before_tag);
	probe_remove(&probe);
	must(hmmu_mm_close(mm) == 0);
	return 0;
}

static void written_beside_a_tag(void **state)
{
	for (unsigned int how = 0; how <= (BEFORE | THERE); how++)
		assert_child(beside_a_tag, how);
}

/* ---- pages on a device -------------------------------------------------------- */

static struct {
	bool open;
	unsigned long addr;
	void *owner;
	unsigned int asked;
} device;

bool __wrap_hmmu_devmem_any(void);
bool __wrap_hmmu_devmem_any(void)
{
	return device.open;
}

bool __wrap_hmmu_devmem_find(unsigned long addr, void *owner, unsigned long *pfn);
bool __wrap_hmmu_devmem_find(unsigned long addr, void *owner, unsigned long *pfn)
{
	device.asked++;
	*pfn = 0x123456;
	return addr == device.addr && owner == device.owner;
}

static int fault_owner(unsigned char *at, size_t pages, unsigned long want, void *owner)
{
	struct hmm_range range = {
		.notifier = &all,
		.notifier_seq = mmu_interval_read_begin(&all),
		.start = (unsigned long)at,
		.end = (unsigned long)at + pages * PAGE,
		.hmm_pfns = pfns,
		.default_flags = want,
		.dev_private_owner = owner,
	};

	return hmm_range_fault(&range);
}

static void on_device(void **state, unsigned int without)
{
	const unsigned long there = RDWR | HMM_PFN_DEVICE | 0x123456;
	unsigned char *at = map_anon(4);

	touch(at, 1);
	device.open = true;
	device.addr = (unsigned long)at + PAGE;
	device.owner = &device;
	device.asked = 0;
	play(without);
	assert_int_equal(fault_owner(at - PAGE, 6, 0, &device), 0);
	assert_pfn(at - PAGE, pfns[0], HMM_PFN_ERROR);
	assert_pfn(at, pfns[1], RDWR);
	assert_int_equal(pfns[2], there);
	assert_pfn(at + 2 * PAGE, pfns[3], 0);
	assert_int_equal(device.asked, 3); /* of what is not present, nothing else */
	/* Its owner needs no fault for it; the others get it home. */
	assert_int_equal(fault_owner(at, 4, WRITE, &device), 0);
	assert_int_equal(pfns[1], there);
	assert_pfn(at + 2 * PAGE, pfns[2], RDWR);
	/* Nor does it come home on the way from one to the next. */
	assert_int_equal(madvise(at, 4 * PAGE, MADV_DONTNEED), 0);
	meeting.at = ~0U;
	meeting.populates = 0;
	play_before = meet;
	assert_int_equal(fault_owner(at, 4, WRITE, &device), 0);
	play_before = NULL;
	assert_int_equal(pfns[1], there);
	assert_int_equal(meeting.populates, 2);
	assert_int_equal(fault_owner(at, 4, 0, &at), 0);
	assert_pfn(at + PAGE, pfns[1], 0);
	assert_int_equal(fault_owner(at, 4, READ, &at), 0);
	assert_pfn(at + PAGE, pfns[1], VALID | HMM_PFN_ZERO);
	/* By page. */
	assert_int_equal(madvise(at, 4 * PAGE, MADV_DONTNEED), 0);
	pfns[0] = READ;
	pfns[1] = WRITE;
	pfns[2] = pfns[3] = 0;
	assert_int_equal(quiet(({
				 struct hmm_range r = {
					 .notifier = &all,
					 .notifier_seq = mmu_interval_read_begin(&all),
					 .start = (unsigned long)at,
					 .end = (unsigned long)at + 4 * PAGE,
					 .hmm_pfns = pfns,
					 .pfn_flags_mask = HMM_PFN_FLAGS,
					 .dev_private_owner = &device,
				 };
				 hmm_range_fault(&r);
			 })),
			 0);
	assert_pfn(at, pfns[0], VALID | HMM_PFN_ZERO);
	assert_int_equal(pfns[1], there);
	assert_pfn(at + 2 * PAGE, pfns[2], 0);
	device.open = false;
	hmmu_syscall_hook = NULL;
	munmap(at, 4 * PAGE);
}

static void pages_on_a_device(void **state)
{
	on_device(state, 0);
	on_device(state, NO_SCAN | NO_QUERY);
}

static void no_device_no_question(void **state)
{
	unsigned char *at = map_anon(4);

	device.open = false;
	device.asked = 0;
	assert_int_equal(fault_owner(at, 4, 0, &device), 0);
	assert_int_equal(device.asked, 0);
	munmap(at, 4 * PAGE);
}

/* ---- where it must not be called ---------------------------------------------- */

static const char *reported;

static void report(const char *name, const void *subject)
{
	reported = name;
}

static void wrong_place(void **state)
{
	unsigned char *at = map_anon(1);
	struct hmm_range range = {
		.notifier = &all,
		.notifier_seq = mmu_interval_read_begin(&all),
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGE,
		.hmm_pfns = pfns,
	};

	hmmu_report_hook = report;
	hmmu_driver_lock_acquired(&all);
	hmm_range_fault(&range);
	hmmu_driver_lock_released(&all);
	hmmu_report_hook = NULL;
	assert_non_null(reported);
	assert_string_equal(reported, "hmm-range-fault-under-driver-lock");
	munmap(at, PAGE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(collides_at_each_call), cmocka_unit_test(gives_up_early),
		cmocka_unit_test(collided_before),

		cmocka_unit_test(source_lost),		 cmocka_unit_test(pages_on_a_device),
		cmocka_unit_test(no_device_no_question), cmocka_unit_test(wrong_place),
		cmocka_unit_test(written_beside_a_tag),
	};

	pfns = mmap(NULL, 1 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(pfns != MAP_FAILED);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
