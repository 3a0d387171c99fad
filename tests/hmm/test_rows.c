// SPDX-License-Identifier: MIT
/* test_rows.c - each kind of memory: what a snapshot says, what a fault makes of it. */
#include <sys/auxv.h>
#include <sys/shm.h>

#include "world.h"

static unsigned long pfns[1024];

static void unmap(void *at, size_t pages)
{
	assert_int_equal(munmap(at, pages * PAGE), 0);
}

static void hole(void **state)
{
	unsigned char *at = map_anon(1);

	assert_snap(at - PAGE, HMM_PFN_ERROR);
	assert_snap(at + PAGE, HMM_PFN_ERROR);
	/* The last page that there can be, and the first. */
	assert_snap((void *)((1UL << 47) - 4 * PAGE), HMM_PFN_ERROR);
	assert_snap((void *)PAGE, HMM_PFN_ERROR);
	unmap(at, 1);
}

static void anonymous(void **state)
{
	unsigned char *at = map_anon(4);

	at[2 * PAGE] = 1;
	assert_int_equal(look_into(at + PAGE), 0);
	snapshot(at - PAGE, 6, pfns);
	assert_pfn(at - PAGE, pfns[0], HMM_PFN_ERROR);
	assert_pfn(at, pfns[1], 0);
	assert_pfn(at + PAGE, pfns[2], VALID | HMM_PFN_ZERO);
	assert_pfn(at + 2 * PAGE, pfns[3], RDWR);
	assert_pfn(at + 3 * PAGE, pfns[4], 0);
	assert_pfn(at + 4 * PAGE, pfns[5], HMM_PFN_ERROR);
	for (int i = 0; i < 6; i++)
		assert_int_equal(hmm_pfn_to_map_order(pfns[i]), 0);
	/* The zero page becomes one's own. */
	at[PAGE] = 1;
	assert_snap(at + PAGE, RDWR);
	unmap(at, 4);
}

static void faults_anonymous(void **state)
{
	unsigned char *at = map_anon(4);

	at[PAGE] = 9;
	assert_int_equal(fault(at, 4, pfns, READ, 0), 0);
	assert_pfn(at, pfns[0], VALID | HMM_PFN_ZERO);
	assert_pfn(at + PAGE, pfns[1], RDWR);
	assert_pfn(at + 3 * PAGE, pfns[3], VALID | HMM_PFN_ZERO);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), 0);
	for (int i = 0; i < 4; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	assert_int_equal(at[PAGE], 9);
	unmap(at, 4);
}

/* To want to write without wanting a fault is to want nothing. */
static void write_alone(void **state)
{
	unsigned char *at = map_anon(1);

	assert_int_equal(fault(at, 1, pfns, HMM_PFN_REQ_WRITE, 0), 0);
	assert_pfn(at, pfns[0], 0);
	pfns[0] = HMM_PFN_REQ_WRITE;
	assert_int_equal(fault(at, 1, pfns, 0, HMM_PFN_FLAGS), 0);
	assert_pfn(at, pfns[0], 0);
	unmap(at, 1);
}

static void masked(void **state)
{
	unsigned char *at = map_anon(8);

	memset(pfns, 0, sizeof(pfns));
	pfns[0] = ~HMM_PFN_FLAGS; /* nothing, and rubbish outside the mask */
	pfns[1] = READ;
	pfns[2] = WRITE;
	pfns[4] = WRITE;
	pfns[5] = READ;
	pfns[6] = READ;
	assert_int_equal(fault(at - PAGE, 10, pfns, 0, WRITE), 0);
	assert_pfn(at - PAGE, pfns[0], HMM_PFN_ERROR);
	assert_pfn(at, pfns[1], VALID | HMM_PFN_ZERO);
	assert_pfn(at + PAGE, pfns[2], RDWR);
	assert_pfn(at + 2 * PAGE, pfns[3], 0);
	assert_pfn(at + 3 * PAGE, pfns[4], RDWR);
	assert_pfn(at + 4 * PAGE, pfns[5], VALID | HMM_PFN_ZERO);
	assert_pfn(at + 5 * PAGE, pfns[6], VALID | HMM_PFN_ZERO);
	assert_pfn(at + 6 * PAGE, pfns[7], 0);
	/* Only what the mask lets through; the default comes on top. */
	pfns[0] = WRITE;
	assert_int_equal(fault(at + 2 * PAGE, 1, pfns, 0, HMM_PFN_REQ_FAULT), 0);
	assert_pfn(at + 2 * PAGE, pfns[0], VALID | HMM_PFN_ZERO);
	pfns[0] = HMM_PFN_REQ_WRITE;
	pfns[1] = 0;
	assert_int_equal(fault(at + 6 * PAGE, 2, pfns, READ, HMM_PFN_REQ_WRITE), 0);
	assert_pfn(at + 6 * PAGE, pfns[0], RDWR);
	assert_pfn(at + 7 * PAGE, pfns[1], VALID | HMM_PFN_ZERO);
	unmap(at, 8);
}

static void permissions(void **state)
{
	unsigned char *at = map_anon(3);

	touch(at, 3);
	assert_int_equal(mprotect(at, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_READ), 0);
	snapshot(at, 3, pfns);
	assert_pfn(at, pfns[0], HMM_PFN_ERROR);
	assert_pfn(at + PAGE, pfns[1], VALID);
	assert_pfn(at + 2 * PAGE, pfns[2], RDWR);
	assert_int_equal(fault(at + PAGE, 2, pfns, READ, 0), 0);
	assert_pfn(at + PAGE, pfns[0], VALID);
	unmap(at, 3);
}

static void write_only(void **state)
{
	unsigned char *at = map_anon(1);

	touch(at, 1);
	assert_int_equal(mprotect(at, PAGE, PROT_WRITE), 0);
	assert_snap(at, HMM_PFN_ERROR);
	unmap(at, 1);
}

static void system_v(void **state)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
	unsigned char *at = shmat(id, NULL, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
	assert_snap(at, 0);
	assert_int_equal(fault(at, 2, pfns, READ, 0), 0);
	assert_pfn(at + PAGE, pfns[1], RDWR | HMM_PFN_FILE);
	assert_int_equal(shmdt(at), 0);
	assert_snap(at, HMM_PFN_ERROR);
}

static void huge(void **state)
{
	unsigned char *at = map(3 * THP / PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *h = (unsigned char *)(((unsigned long)at + THP - 1) & -THP);
	unsigned long pfn;

	madvise(at, 3 * THP, MADV_HUGEPAGE);
	*h = 1;
	pfn = snap(h + 5 * PAGE);
	if (!pfn) {
		unmap(at, 3 * THP / PAGE);
		skip(); /* the kernel gives none */
	}
	assert_int_equal(hmm_pfn_to_map_order(pfn), ORDER(9));
	assert_pfn(h + 5 * PAGE, pfn, RDWR);
	/* Split in the middle by a permission. */
	assert_int_equal(mprotect(h + 8 * PAGE, PAGE, PROT_READ), 0);
	snapshot(h, 16, pfns);
	assert_pfn(h + 8 * PAGE, pfns[8], VALID);
	assert_pfn(h + 9 * PAGE, pfns[9], RDWR);
	assert_int_equal(hmm_pfn_to_map_order(pfns[9]), 0);
	unmap(at, 3 * THP / PAGE);
}

/* Reading makes the huge zero page. */
static void huge_zero(void **state)
{
	unsigned char *at = map(3 * THP / PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *h = (unsigned char *)(((unsigned long)at + THP - 1) & -THP);

	madvise(at, 3 * THP, MADV_HUGEPAGE);
	assert_int_equal(look_into(h), 0);
	assert_snap(h, VALID | HMM_PFN_ZERO);
	assert_int_equal(fault(h, 512, pfns, WRITE, 0), 0);
	for (int i = 0; i < 512; i++)
		assert_pfn(h + i * PAGE, pfns[i], RDWR);
	unmap(at, 3 * THP / PAGE);
}

/* Of no file, for all that the list of mappings says, and its page is no anonymous one. */
static void vdso(void **state)
{
	void *at = (void *)getauxval(AT_SYSINFO_EHDR);

	if (!at)
		skip();
	(void)look_into(at);
	assert_snap(at, VALID | HMM_PFN_FILE);
	assert_int_equal(fault(at, 1, pfns, WRITE, 0), -EPERM);
}

static void hugetlb(void **state)
{
	unsigned char *at =
		mmap(NULL, THP, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (at == MAP_FAILED)
		skip();
	assert_snap(at, 0);
	assert_int_equal(fault(at + PAGE, 2, pfns, WRITE, 0), 0);
	assert_pfn(at + 2 * PAGE, pfns[1], RDWR);
	assert_int_equal(hmm_pfn_to_map_order(pfns[1]), ORDER(9));
	unmap(at, THP / PAGE);
}

static void file_private(void **state)
{
	int fd = file_of(4);
	unsigned char *at = map(4, RW, MAP_PRIVATE, fd);

	assert_int_equal(look_into(at), 1);
	assert_snap(at, VALID | HMM_PFN_FILE);
	at[0] = 7; /* its own copy */
	assert_snap(at, RDWR);
	assert_int_equal(fault(at, 4, pfns, READ, 0), 0);
	assert_pfn(at, pfns[0], RDWR);
	assert_pfn(at + 3 * PAGE, pfns[3], VALID | HMM_PFN_FILE);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), 0);
	assert_pfn(at + 3 * PAGE, pfns[3], RDWR);
	assert_int_equal(at[3 * PAGE], 4);
	unmap(at, 4);
	close(fd);
}

static void shared_of(int fd)
{
	unsigned char *at = map(4, RW, MAP_SHARED, fd), *ro;

	assert_int_equal(fault(at, 4, pfns, READ, 0), 0);
	for (int i = 0; i < 4; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR | HMM_PFN_FILE);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), 0);
	assert_pfn(at, pfns[0], RDWR | HMM_PFN_FILE);
	ro = map(4, PROT_READ, MAP_SHARED, fd);
	assert_snap(ro, 0);
	assert_int_equal(fault(ro, 4, pfns, READ, 0), 0);
	assert_pfn(ro, pfns[0], VALID | HMM_PFN_FILE);
	unmap(at, 4);
	unmap(ro, 4);
	close(fd);
}

static void file_shared(void **state)
{
	shared_of(file_of(4));
}

static void memfd(void **state)
{
	shared_of(memfd_of(4));
}

static void anonymous_shared(void **state)
{
	unsigned char *at = map(2, RW, MAP_SHARED | MAP_ANONYMOUS, -1);

	assert_snap(at, 0);
	assert_int_equal(fault(at, 2, pfns, READ, 0), 0);
	assert_pfn(at, pfns[0], RDWR | HMM_PFN_FILE);
	unmap(at, 2);
}

static void guard(void **state)
{
	unsigned char *at = map_anon(3);

	touch(at, 3);
	if (madvise(at + PAGE, PAGE, MADV_GUARD_INSTALL)) {
		unmap(at, 3);
		skip();
	}
	snapshot(at, 3, pfns);
	assert_pfn(at, pfns[0], RDWR);
	assert_true(pfns[1] == HMM_PFN_ERROR || pfns[1] == 0); /* 6.13, 6.14: not told */
	assert_pfn(at + 2 * PAGE, pfns[2], RDWR);
	assert_int_equal(fault(at, 3, pfns, READ, 0), -EFAULT);
	unmap(at, 3);
}

/* More neighbours that differ than one question to the kernel answers. */
static void patchwork(void **state)
{
	unsigned char *at = map_anon(1024);

	for (int i = 0; i < 1024; i += 2)
		at[i * PAGE] = 1;
	for (int i = 1; i < 1024; i += 4)
		assert_int_equal(look_into(at + i * PAGE), 0);
	snapshot(at, 1024, pfns);
	for (int i = 0; i < 1024; i++)
		assert_pfn(at + i * PAGE, pfns[i],
			   i % 2 == 0	? RDWR
			   : i % 4 == 1 ? VALID | HMM_PFN_ZERO
					: 0);
	assert_int_equal(fault(at, 1024, pfns, WRITE, 0), 0);
	for (int i = 0; i < 1024; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	unmap(at, 1024);
}

/* Mappings beside each other, and holes. */
static void many_mappings(void **state)
{
	unsigned char *at = map_anon(1024);

	touch(at, 1024);
	for (int i = 0; i < 1024; i += 8) {
		assert_int_equal(mprotect(at + i * PAGE, PAGE, PROT_READ), 0);
		assert_int_equal(munmap(at + (i + 3) * PAGE, 2 * PAGE), 0);
	}
	snapshot(at, 1024, pfns);
	for (int i = 0; i < 1024; i++)
		assert_pfn(at + i * PAGE, pfns[i],
			   i % 8 == 0		      ? VALID
			   : i % 8 == 3 || i % 8 == 4 ? HMM_PFN_ERROR
						      : RDWR);
	unmap(at, 1024);
}

/* WRITE means that this is what a write through the number reaches. */
static void numbers_lead_there(void **state)
{
	unsigned char *at = map_anon(16);

	for (int i = 0; i < 16; i++)
		at[i * PAGE] = (unsigned char)i;
	assert_int_equal(fault(at, 16, pfns, WRITE, 0), 0);
	for (int i = 0; i < 16; i++) {
		unsigned char *there = hmm_pfn_to_addr(pfns[i]);

		assert_int_equal(*there, i);
		memset(there, i + 100, PAGE);
		assert_int_equal(at[i * PAGE + PAGE - 1], i + 100);
	}
	unmap(at, 16);
}

/* Whatever this process has: libraries, the stack, the kernel's own pages. */
static void everything(void **state)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, pages = 0, there = 0;
	char line[512], r;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		assert_int_equal(sscanf(line, "%lx-%lx %c", &start, &end, &r), 3);
		if (end > 1UL << 46 && start >= 1UL << 47)
			continue; /* the kernel's half */
		for (; start < end; start += PAGE) {
			unsigned long pfn = snap((void *)start);

			pages++;
			if (r != 'r')
				assert_int_equal(pfn, HMM_PFN_ERROR);
			if (!(pfn & VALID))
				continue;
			there++;
			(void)look_into(hmm_pfn_to_addr(pfn));
		}
	}
	fclose(maps);
	assert_true(pages > 100 && there > 50);
}

static void frames(void **state)
{
	unsigned char *at = map_anon(600);
	int fd = memfd_of(1);
	unsigned char *one = map(1, RW, MAP_SHARED, fd), *other = map(1, RW, MAP_SHARED, fd);
	unsigned long a, b;
	int ret;

	touch(at, 600);
	ret = fault_flags(at, 600, pfns, READ, 0, HMM_RANGE_PHYSICAL);
	if (ret == -EPERM) {
		assert_int_not_equal(geteuid(), 0);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_int_equal(FLAGS_OF(pfns[599]), RDWR);
	for (int i = 1; i < 600; i++) {
		assert_int_not_equal(pfns[i] & HMM_PFN_NUMBER, 0);
		assert_int_not_equal(pfns[i] & HMM_PFN_NUMBER, pfns[i - 1] & HMM_PFN_NUMBER);
	}
	/* Two addresses of one page. */
	assert_int_equal(fault_flags(one, 1, &a, WRITE, 0, HMM_RANGE_PHYSICAL), 0);
	assert_int_equal(fault_flags(other, 1, &b, WRITE, 0, HMM_RANGE_PHYSICAL), 0);
	assert_int_equal(a, b);
	assert_int_equal(fault_flags(at - PAGE, 1, &a, 0, 0, HMM_RANGE_PHYSICAL), 0);
	assert_int_equal(a, HMM_PFN_ERROR);
	unmap(at, 600);
	unmap(one, 1);
	unmap(other, 1);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_only),
		cmocka_unit_test(system_v),
		cmocka_unit_test(hole),
		cmocka_unit_test(anonymous),
		cmocka_unit_test(faults_anonymous),
		cmocka_unit_test(write_alone),
		cmocka_unit_test(masked),
		cmocka_unit_test(permissions),
		cmocka_unit_test(huge),
		cmocka_unit_test(huge_zero),
		cmocka_unit_test(vdso),
		cmocka_unit_test(hugetlb),
		cmocka_unit_test(file_private),
		cmocka_unit_test(file_shared),
		cmocka_unit_test(memfd),
		cmocka_unit_test(anonymous_shared),
		cmocka_unit_test(guard),
		cmocka_unit_test(patchwork),
		cmocka_unit_test(many_mappings),
		cmocka_unit_test(numbers_lead_there),
		cmocka_unit_test(frames),
		cmocka_unit_test(everything),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
