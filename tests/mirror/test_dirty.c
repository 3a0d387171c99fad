// SPDX-License-Identifier: MIT
/*
 * test_dirty.c - what dirty() tells, change by change; and with each of its parts left out,
 * the change that is missed. (The plant build.) Exit 77: no userfaultfd here.
 */
#include "track.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "mirror/mirror.h"
#include "plant.h"

static struct track t;

static void open_clean(unsigned int sources)
{
	assert_true(track_open(&t, sources, NULL));
	memset(t.mem, 1, TRACK_BYTES);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, TRACK_PAGES); /* the first call: what is there */
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, 0);
}

/* Everything told has been copied; nothing else differs; then nothing is left. */
static void expect(unsigned long page, unsigned long n)
{
	assert_int_equal(track_all(&t), 0);
	for (unsigned long i = page; i < page + n; i++)
		assert_true(t.told[i]);
	assert_int_equal(t.pages, n);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, 0);
}

static void expect_both(unsigned long a, unsigned long b)
{
	assert_int_equal(track_all(&t), 0);
	assert_true(t.told[a] && t.told[b]);
	assert_int_equal(t.pages, 2);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
}

static void test_writes(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 9;
	expect(3, 1);
	t.mem[7 * PAGE + 4095] = 9;
	t.mem[8 * PAGE] = 9;
	t.mem[1023 * PAGE] = 9;
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.runs, 2);
	assert_int_equal(t.pages, 3);
	assert_true(t.told[7] && t.told[8] && t.told[1023]);
	/* Reading is no change. */
	assert_int_equal(*(volatile unsigned char *)(t.mem + 20 * PAGE), 1);
	expect(0, 0);
	/* By a system call. */
	assert_int_equal(getrandom(t.mem + 30 * PAGE, 8, 0), 8);
	expect(30, 1);
	track_close(&t);
}

static void test_parts(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 9;
	t.mem[600 * PAGE] = 9;
	madvise(t.mem + 700 * PAGE, 5 * PAGE, MADV_DONTNEED);
	assert_int_equal(track_collect(&t, 0, 512, NULL), 0);
	assert_int_equal(t.pages, 1);
	assert_int_equal(track_collect(&t, 512, 100, NULL), 0);
	assert_int_equal(t.pages, 1);
	t.refuse = 7;
	assert_int_equal(track_collect(&t, 512, 512, NULL), 7);
	t.refuse = 0;
	expect(700, 5);
	assert_int_equal(hmmu_mirror_mark(t.mirror, (unsigned long)t.mem + 9 * PAGE, 2 * PAGE),
			 0);
	expect(9, 2);
	/* What is beyond the part that is asked for is not forgotten. */
	assert_int_equal(hmmu_mirror_mark(t.mirror, (unsigned long)t.mem + 800 * PAGE, PAGE),
			 0);
	assert_int_equal(track_collect(&t, 0, 512, NULL), 0);
	assert_int_equal(t.pages, 0);
	expect(800, 1);
	track_close(&t);
}

/* Each may be told once while it is empty; then only when it is filled. */
static void test_empty_pages(void **state)
{
	assert_true(track_open(&t, HMMU_SOURCE_USERFAULTFD, NULL));
	memset(t.mem + 10 * PAGE, 1, 10 * PAGE);
	assert_int_equal(track_all(&t), 0);
	assert_true(t.told[10] && t.told[19]);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, 0);
	t.mem[900 * PAGE] = 4;
	t.mem[100 * PAGE] = 4;
	expect_both(900, 100);
	/* The kernel empties it when it likes: told by its own event, or later. */
	madvise(t.mem + 15 * PAGE, PAGE, MADV_FREE);
	assert_int_equal(track_all(&t), 0);
	madvise(t.mem + 15 * PAGE, PAGE, MADV_PAGEOUT);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
}

static void each_change(unsigned int sources)
{
	void *other;

	open_clean(sources);
	assert_int_equal(madvise(t.mem + 5 * PAGE, 3 * PAGE, MADV_DONTNEED), 0);
	expect(5, 3);
	assert_int_equal(madvise(t.mem + 5 * PAGE, 3 * PAGE, MADV_DONTNEED), 0);
	t.mem[6 * PAGE] = 7;
	expect(5, 3);
	track_replace(&t, 20, 10, false);
	t.mem[25 * PAGE] = 7;
	expect(20, 10);
	track_replace(&t, 20, 10, true);
	expect(20, 10);
	t.mem[25 * PAGE] = 7;
	expect(25, 1);
	track_replace(&t, 512, 512, true); /* and its page table */
	expect(512, 512);
	other = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	memset(other, 5, 4 * PAGE);
	assert_true(mremap(other, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   t.mem + 40 * PAGE) != MAP_FAILED);
	expect(40, 4);
	/* What may be done with it is not what it is. */
	assert_int_equal(mprotect(t.mem, 50 * PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(t.mem, 50 * PAGE, PROT_READ | PROT_WRITE), 0);
	expect(0, 0);
	t.mem[2 * PAGE] = 8;
	expect(2, 1);
	track_close(&t);
}

static void test_changes_told_afterwards(void **state)
{
	each_change(HMMU_SOURCE_USERFAULTFD);
}

static void test_changes_bracketed(void **state)
{
	if (!track_open(&t, HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, NULL))
		skip();
	track_close(&t);
	each_change(HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD);
}

static void test_huge_pages(void **state)
{
	assert_true(track_open(&t, HMMU_SOURCE_USERFAULTFD, NULL));
	madvise(t.mem, TRACK_BYTES, MADV_HUGEPAGE);
	memset(t.mem, 1, TRACK_BYTES);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, TRACK_PAGES);
	t.mem[77 * PAGE] = 9;
	assert_int_equal(track_all(&t), 0);
	assert_true(t.told[77]);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, 0);
	track_close(&t);
}

static void test_device_writes(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	assert_int_equal(hmmu_mirror_write(t.mirror, (unsigned long)t.mem + 50 * PAGE - 3,
					   "device", 6, NULL),
			 6);
	assert_memory_equal(t.mem + 50 * PAGE - 3, "device", 6);
	expect(49, 2);
	track_close(&t);
}

static void over_by(int flags, int file)
{
	assert_true(mmap(t.mem + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
			 file, 0) == t.mem + 4 * PAGE);
}

static void test_refused(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o), .flags = HMMU_MIRROR_DIRTY};
	struct mm_struct *mm = open_mm(0);
	struct hmmu_mirror *second;
	int file = memfd_create("file", 0);
	unsigned long start;

	assert_int_equal(ftruncate(file, PAGE), 0);
	open_clean(HMMU_SOURCE_USERFAULTFD);
	start = (unsigned long)t.mem;
	over_by(MAP_SHARED, file);
	assert_int_equal(track_all(&t), -EOPNOTSUPP);
	over_by(MAP_PRIVATE, file);
	assert_int_equal(track_all(&t), -EOPNOTSUPP);
	over_by(MAP_SHARED | MAP_ANONYMOUS, -1);
	assert_int_equal(track_all(&t), -EOPNOTSUPP);
	munmap(t.mem + 4 * PAGE, PAGE);
	assert_int_equal(track_all(&t), -ENODEV);
	t.mem[6 * PAGE] = 2;
	over_by(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	assert_int_equal(track_all(&t), 0);
	assert_true(t.told[4] && t.told[6]); /* nothing was lost meanwhile */
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	o.start = start + 100 * PAGE;
	o.length = PAGE;
	assert_int_equal(hmmu_mirror_open(&second, t.mm, NULL, NULL, &o), -EBUSY);
	assert_int_equal(hmmu_mirror_open(&second, mm, NULL, NULL, &o), -EOPNOTSUPP);
	o.flags = 0;
	assert_int_equal(hmmu_mirror_open(&second, t.mm, NULL, NULL, NULL), -EOPNOTSUPP);
	assert_int_equal(hmmu_mirror_open(&second, t.mm, NULL, NULL, &o), 0);
	assert_int_equal(track_collect(&t, 1024, 1, NULL), -EINVAL);
	assert_int_equal(track_collect(&t, 0, 0, NULL), -EINVAL);
	assert_int_equal(track_collect(&t, 1000, 25, NULL), -EINVAL);
	hmmu_mirror_close(second);
	track_close(&t);
	close_mm(mm);
	close(file);
}

/* An earlier tracker's marks are still on the pages: a new one tells of them all. */
static void test_second_tracker(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o), .length = TRACK_BYTES};
	struct hmmu_mirror *keeps;

	open_clean(HMMU_SOURCE_USERFAULTFD);
	o.start = (unsigned long)t.mem;
	assert_int_equal(hmmu_mirror_open(&keeps, t.mm, NULL, NULL, &o), 0);
	assert_int_equal(hmmu_mirror_map(keeps, o.start, 1, 0, NULL, NULL), 0);
	hmmu_mirror_close(t.mirror);
	o.flags = HMMU_MIRROR_DIRTY;
	assert_int_equal(hmmu_mirror_open(&t.mirror, t.mm, NULL, NULL, &o), 0);
	memset(t.replica, 0, TRACK_BYTES);
	assert_int_equal(track_collect(&t, 0, 10, NULL), 0);
	assert_int_equal(t.pages, 10);
	assert_int_equal(track_all(&t), 0);
	assert_int_equal(t.pages, TRACK_PAGES - 10);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	hmmu_mirror_close(keeps);
	track_close(&t);
}

static void test_fork(void **state)
{
	struct track child;
	int status = 1;
	pid_t pid;

	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 9;
	pid = fork();
	if (!pid) {
		must(track_all(&t) == -ENODEV);
		must(hmmu_mirror_mark(t.mirror, (unsigned long)t.mem, PAGE) == -ENODEV);
		hmmu_mirror_close(t.mirror);
		/* The parent's is in nobody's way. */
		must(track_open(&child, HMMU_SOURCE_USERFAULTFD, NULL));
		child.mem[3 * PAGE] = 1;
		must(track_all(&child) == 0 && child.told[3]);
		track_close(&child);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	expect(3, 1);
	t.mem[4 * PAGE] = 9; /* copied on write: the child had it */
	expect(4, 1);
	track_close(&t);
}

/* hmm_range_fault() with tags marks the same pages. */
static bool told_nothing(struct mmu_interval_notifier *sub,
			 const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	(void)range;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static void test_tags_of_others(void **state)
{
	static const struct mmu_interval_notifier_ops ops = {.invalidate = told_nothing};
	struct mmu_interval_notifier sub;
	unsigned long pfns[8];
	struct hmm_range range = {.notifier = &sub,
				  .hmm_pfns = pfns,
				  .default_flags = HMM_PFN_REQ_FAULT,
				  .flags = HMM_RANGE_TAG};

	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 9;
	t.mem[6 * PAGE] = 9;
	range.start = (unsigned long)t.mem;
	range.end = range.start + 5 * PAGE;
	assert_int_equal(mmu_interval_notifier_insert(&sub, t.mm, range.start, 8 * PAGE, &ops),
			 0);
	do {
		range.notifier_seq = mmu_interval_read_begin(&sub);
	} while (hmm_range_fault(&range) == -EBUSY);
	assert_true(hmm_range_valid(&range));
	expect_both(3, 6);
	mmu_interval_notifier_remove(&sub);
	track_close(&t);
}

/* A mapping is replaced just before the scan, which has marked a page by then. */
static int stops;

static void replace_at_scan(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_SETTLED && !stops++)
		track_replace(&t, 100, 100, true);
}

static void test_scan_breaks_off(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 9;
	stops = 0;
	hmmu_mirror_gate = replace_at_scan;
	assert_int_equal(track_all(&t), 0);
	hmmu_mirror_gate = NULL;
	assert_true(stops > 1);
	assert_true(t.told[3] && t.told[100] && t.told[199]);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
}

static void test_replaced_then_written(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	track_replace(&t, 100, 1, true);
	assert_int_equal(track_all(&t), 0);
	t.mem[100 * PAGE] = 1; /* in a mapping that was armed by that call */
	expect(100, 1);
	track_close(&t);
}

/* ---- a change that is open when dirty() is called ---------------------- */

static struct gate inside, go;

static void stop_inside(void *context, unsigned long start, unsigned long end,
			enum mmu_notifier_event event)
{
	(void)context;
	(void)start;
	(void)end;
	if (event != MMU_NOTIFY_UNMAP)
		return;
	gate_open(&inside);
	gate_pass(&go);
}

static void own_lock(void *context)
{
	(void)context;
}

static void replace_second(void *arg)
{
	(void)arg;
	track_replace(&t, 512, 512, false);
}

static void collect_all(void *arg)
{
	*(int *)arg = track_all(&t);
}

/* The hook has called back; the memory is not replaced yet. */
static void test_open_change(void **state)
{
	/* A lock that does not lock: this is about waiting for the end, and the callback
	 * stops inside. */
	const struct hmmu_mirror_ops ops = {
		.invalidate = stop_inside, .lock = own_lock, .unlock = own_lock};
	struct runner changer, collector;
	int ret = 1;

	gate_init(&inside);
	gate_init(&go);
	if (!track_open(&t, HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, &ops))
		skip();
	memset(t.mem, 1, TRACK_BYTES);
	assert_int_equal(track_all(&t), 0);
	runner_start(&changer, replace_second, NULL);
	gate_pass(&inside);
	assert_int_equal(t.mem[512 * PAGE], 1);
	runner_start(&collector, collect_all, &ret);
	assert_true(runner_sleeps(&collector));
	gate_open(&go);
	runner_join(&changer);
	runner_join(&collector);
	assert_int_equal(ret, 0);
	assert_int_equal(t.pages, 512);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
}

/* A change begins when dirty() has just waited for all of them: told when it is over. */
static struct mmu_notifier_range late;

static void start_late(void *arg)
{
	range_open(arg, t.mm, (unsigned long)t.mem + 3 * PAGE, (unsigned long)t.mem + 4 * PAGE);
}

static void open_late(enum hmmu_mirror_gate gate)
{
	struct runner run;

	if (gate != MIRROR_GATE_WAITED || stops++)
		return;
	runner_start(&run, start_late, &late);
	runner_join(&run);
}

static void test_late_change(void **state)
{
	struct runner collector;
	int ret = 1;

	open_clean(HMMU_SOURCE_USERFAULTFD);
	stops = 0;
	hmmu_mirror_gate = open_late;
	runner_start(&collector, collect_all, &ret);
	assert_true(runner_sleeps(&collector));
	range_close(&late);
	runner_join(&collector);
	hmmu_mirror_gate = NULL;
	assert_int_equal(ret, 0);
	assert_true(t.told[3]);
	track_close(&t);
}

/* ---- a device's write that is half done --------------------------------- */

static struct hmmu_mirror *writer;
static unsigned char *slow; /* reading it waits until the test fills it */

static void write_slowly(void *arg)
{
	(void)arg;
	must(hmmu_mirror_write(writer, (unsigned long)t.mem + 3 * PAGE, slow, PAGE, NULL) ==
	     PAGE);
}

static int slow_memory(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fd;
	slow = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (unsigned long)slow;
	reg.range.len = PAGE;
	must(ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
	return fd;
}

/* Another mirror's device has the page pinned and has not copied yet. */
static unsigned long play_half_write(bool waits)
{
	struct hmmu_mirror_options o = {.size = sizeof(o), .length = TRACK_BYTES};
	static unsigned char filled[PAGE];
	struct uffdio_copy copy = {.src = (unsigned long)filled, .len = PAGE};
	struct runner write_run, collector;
	unsigned long differs;
	int fd = slow_memory(), ret = 1;

	if (fd < 0)
		skip();
	open_clean(HMMU_SOURCE_USERFAULTFD);
	memset(filled, 42, PAGE);
	copy.dst = (unsigned long)slow;
	o.start = (unsigned long)t.mem;
	assert_int_equal(hmmu_mirror_open(&writer, t.mm, NULL, NULL, &o), 0);
	assert_int_equal(hmmu_mirror_map(writer, o.start, 16, HMMU_MIRROR_WRITE, NULL, NULL),
			 0);
	assert_int_equal(track_all(&t), 0);
	hmmu_mirror_planted = waits ? MIRROR_PLANT_NONE : MIRROR_PLANT_NO_BARRIER;
	runner_start(&write_run, write_slowly, NULL);
	assert_true(runner_sleeps(&write_run));
	runner_start(&collector, collect_all, &ret);
	assert_int_equal(runner_sleeps(&collector), waits);
	assert_int_equal(ioctl(fd, UFFDIO_COPY, &copy), 0);
	runner_join(&write_run);
	runner_join(&collector);
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	assert_int_equal(ret, 0);
	assert_int_equal(t.mem[3 * PAGE], 42);
	assert_true(t.told[3]);
	assert_int_equal(track_all(&t), 0);
	differs = track_differs(&t);
	hmmu_mirror_close(writer);
	track_close(&t);
	munmap(slow, PAGE);
	close(fd);
	return differs;
}

static void test_half_write(void **state)
{
	assert_int_equal(play_half_write(true), TRACK_PAGES);
}

static void test_planted_no_barrier(void **state)
{
	assert_int_equal(play_half_write(false), 3);
}

static void replace_and_write(enum hmmu_mirror_plant bug)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	hmmu_mirror_planted = bug;
	track_replace(&t, 20, 10, true);
	assert_int_equal(track_all(&t), 0);
	t.mem[25 * PAGE] = 7;
	assert_int_equal(track_all(&t), 0);
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
}

static void test_planted_no_arm(void **state)
{
	replace_and_write(MIRROR_PLANT_NONE);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
	replace_and_write(MIRROR_PLANT_NO_ARM);
	assert_int_not_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
}

/* The page may bring its mark along, so that the scan finds it clean: it is another one. */
static void test_moved(void **state)
{
	open_clean(HMMU_SOURCE_USERFAULTFD);
	t.mem[3 * PAGE] = 33;
	assert_int_equal(track_all(&t), 0);
	assert_true(mremap(t.mem + 3 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   t.mem + 100 * PAGE) != MAP_FAILED);
	track_replace(&t, 3, 1, false);
	assert_int_equal(track_all(&t), 0);
	assert_true(t.told[3] && t.told[100]);
	assert_int_equal(track_differs(&t), TRACK_PAGES);
	track_close(&t);
}

/*
 * A device of the program's own has a page pinned and writes to it without page tables: the
 * scan cannot see that. The program brackets it, and is told.
 */
static void pinned_write(void *arg)
{
	struct iovec from = {slow, PAGE}, to = {t.mem + 3 * PAGE, PAGE};

	(void)arg;
	must(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == PAGE);
}

static unsigned long play_pinned(enum hmmu_mirror_plant bug)
{
	static unsigned char filled[PAGE];
	struct uffdio_copy copy = {.src = (unsigned long)filled, .len = PAGE};
	struct mmu_notifier_range range;
	unsigned long differs;
	struct runner run;
	int fd = slow_memory();

	if (fd < 0)
		skip();
	open_clean(HMMU_SOURCE_USERFAULTFD);
	memset(filled, 42, PAGE);
	copy.dst = (unsigned long)slow;
	runner_start(&run, pinned_write, NULL);
	assert_true(runner_sleeps(&run));
	assert_int_equal(track_all(&t), 0); /* it was pinned for writing */
	range_open(&range, t.mm, (unsigned long)t.mem + 3 * PAGE,
		   (unsigned long)t.mem + 4 * PAGE);
	assert_int_equal(ioctl(fd, UFFDIO_COPY, &copy), 0);
	runner_join(&run);
	range_close(&range);
	assert_int_equal(t.mem[3 * PAGE], 42);
	hmmu_mirror_planted = bug;
	assert_int_equal(track_all(&t), 0);
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	differs = track_differs(&t);
	track_close(&t);
	munmap(slow, PAGE);
	close(fd);
	return differs;
}

static void test_planted_no_notes(void **state)
{
	assert_int_equal(play_pinned(MIRROR_PLANT_NONE), TRACK_PAGES);
	assert_int_equal(play_pinned(MIRROR_PLANT_NO_NOTES), 3);
}

/* An argument: a pattern of the tests to be run. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_empty_pages),
		cmocka_unit_test(test_changes_told_afterwards),
		cmocka_unit_test(test_changes_bracketed),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_device_writes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_second_tracker),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_tags_of_others),
		cmocka_unit_test(test_scan_breaks_off),
		cmocka_unit_test(test_replaced_then_written),
		cmocka_unit_test(test_open_change),
		cmocka_unit_test(test_late_change),
		cmocka_unit_test(test_half_write),
		cmocka_unit_test(test_planted_no_barrier),
		cmocka_unit_test(test_planted_no_arm),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_planted_no_notes),
	};

	if (!track_open(&t, HMMU_SOURCE_USERFAULTFD, NULL))
		return 77;
	track_close(&t);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	api_guard(60);
	return cmocka_run_group_tests_name("mirror dirty", tests, NULL, NULL);
}
