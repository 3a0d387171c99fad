// SPDX-License-Identifier: MIT
/*
 * test_differ.c - random mixtures of memory, against a reference that looks page by page, and
 * against what a write does. Whatever the kernel lacks, the answers are the same.
 *
 *	test_hmm_differ [SEED]		HMM_SEED, HMM_ROUNDS in the environment likewise
 *
 * The reference knows the zero page by its frame: without CAP_SYS_ADMIN the test is skipped.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "play.h"
#include "world.h"

#include "arch/syscall.h"

#define PAGES 512
#define FILE_PAGES 64

static unsigned char *at;
static int memfd, file, pagemap, kpageflags, mem;
static uint64_t seed;
static bool have_guards;
static unsigned int writes, strays;

static unsigned long pfns[PAGES], asked[PAGES];

/* ---- the reference ------------------------------------------------------------- */

struct page {
	bool mapped, read, write, shared;
	bool present, file, alone, guard, zero;
	bool beyond; /* the end of its file */
	uint64_t frame;
};
static struct page pages[PAGES];

static uint64_t word_of(int fd, uint64_t index)
{
	uint64_t word = 0;

	must(pread(fd, &word, 8, (off_t)(index * 8)) == 8);
	return word;
}

static void ask_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, offset, inode, first = (unsigned long)at;
	char r, w, x, s, line[512];
	struct stat sb;

	must(maps && !fstat(memfd, &sb));
	while (fgets(line, sizeof(line), maps)) {
		must(sscanf(line, "%lx-%lx %c%c%c%c %lx %*s %lu", &start, &end, &r, &w, &x, &s,
			    &offset, &inode) == 8);
		for (int i = 0; i < PAGES; i++) {
			unsigned long addr = first + (unsigned long)i * PAGE;

			if (addr < start || addr >= end)
				continue;
			pages[i].mapped = true;
			pages[i].read = r == 'r';
			pages[i].write = w == 'w';
			pages[i].shared = s == 's';
			pages[i].beyond = inode &&
					  (addr - start + offset) / PAGE >= FILE_PAGES &&
					  s != '-' && strstr(line, "/dev/zero") == NULL;
		}
	}
	fclose(maps);
}

static void ask_page(int i)
{
	struct page *p = &pages[i];
	uint64_t e = word_of(pagemap, (unsigned long)at / PAGE + (unsigned long)i);

	p->present = e >> 63;
	p->file = e >> 61 & 1;
	p->alone = e >> 56 & 1;
	p->guard = e >> 58 & 1;
	p->frame = e & ((1ULL << 55) - 1);
	p->zero = p->present && (word_of(kpageflags, p->frame) >> 24 & 1);
}

static void reference(void)
{
	memset(pages, 0, sizeof(pages));
	ask_maps();
	for (int i = 0; i < PAGES; i++)
		if (pages[i].mapped)
			ask_page(i);
}

static unsigned long expected(const struct page *p)
{
	unsigned long flags = HMM_PFN_VALID;

	if (!p->mapped || !p->read || p->guard)
		return HMM_PFN_ERROR;
	if (!p->present)
		return 0;
	if (p->zero)
		flags |= HMM_PFN_ZERO;
	if (p->file || p->shared)
		flags |= HMM_PFN_FILE;
	if (p->write && !p->zero && (p->shared || (!p->file && p->alone)))
		flags |= HMM_PFN_WRITE;
	return flags;
}

static void compare(const char *what, unsigned int without)
{
	for (int i = 0; i < PAGES; i++) {
		unsigned long want = expected(&pages[i]), got = FLAGS_OF(pfns[i]);

		if ((without & NO_GUARD) && !(without & NO_SCAN) && pages[i].guard &&
		    pages[i].read)
			want = 0;
		if ((got & VALID) && hmm_pfn_to_addr(pfns[i]) != at + (unsigned long)i * PAGE)
			got = ~0UL;
		if (got == want)
			continue;
		fail_msg("%s, without %x, seed %llu: page %d is %lx, not %lx", what, without,
			 (unsigned long long)seed, i, got, want);
	}
}

/* ---- the mixture ------------------------------------------------------------------ */

static unsigned int pick(uint64_t *r, unsigned int n)
{
	return (unsigned int)(api_random(r) % n);
}

static void one_mapping(uint64_t *r, unsigned int from, unsigned int n)
{
	static const int prots[] = {
		RW, RW, RW, RW, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
	unsigned char *where = at + from * PAGE;
	int prot = prots[pick(r, 7)], fd = -1;
	unsigned int kind = pick(r, 8);
	off_t offset = 0;

	if (kind == 0) {
		must(munmap(where, n * PAGE) == 0);
		return;
	}
	if (kind >= 5) {
		fd = kind == 5 ? file : memfd;
		offset = (off_t)(pick(r, FILE_PAGES) * PAGE);
	}
	must(mmap(where, n * PAGE, RW,
		  MAP_FIXED |
			  (kind == 4 || kind == 7 || (kind == 5 && pick(r, 2)) ? MAP_SHARED
									       : MAP_PRIVATE) |
			  (fd < 0 ? MAP_ANONYMOUS : 0),
		  fd, offset) == where);
	for (unsigned int i = 0; i < n; i++) {
		unsigned long page = (unsigned long)offset / PAGE + i;

		if (fd >= 0 && page >= FILE_PAGES)
			break;
		if (pick(r, 3) == 0)
			where[i * PAGE] = 1;
		else if (pick(r, 2) == 0)
			(void)look_into(where + i * PAGE);
	}
	if (have_guards && prot == RW && fd < 0 && kind < 4 && pick(r, 3) == 0)
		madvise(where + pick(r, n) * PAGE, PAGE, MADV_GUARD_INSTALL);
	must(mprotect(where, n * PAGE, prot) == 0);
}

static void mixture(uint64_t *r)
{
	unsigned int i = 0;

	must(mmap(at, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	madvise(at, PAGES * PAGE, MADV_NOHUGEPAGE);
	while (i < PAGES) {
		unsigned int n = 1 + pick(r, 24);

		if (n > PAGES - i)
			n = PAGES - i;
		one_mapping(r, i, n);
		i += n;
	}
}

static pid_t fork_holding(int *end)
{
	int go[2];
	pid_t pid;
	char c;

	must(pipe(go) == 0);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	must(pid >= 0);
	if (!pid) {
		close(go[1]);
		_exit(read(go[0], &c, 1) != 0);
	}
	close(go[0]);
	*end = go[1];
	return pid;
}

/* ---- what is checked ------------------------------------------------------------------ */

static const unsigned int kernels[] = {0, NO_QUERY, NO_SCAN, NO_QUERY | NO_SCAN, NO_GUARD};
#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

static void check_snapshots(void)
{
	reference();
	for (size_t k = 0; k < KERNELS; k++) {
		play(kernels[k]);
		snapshot(at, PAGES, pfns);
		compare("snapshot", kernels[k]);
		/* In two parts, and page by page. */
		play(kernels[k]);
		for (int i = 0; i < PAGES; i++)
			snapshot(at + i * PAGE, 1, &pfns[i]);
		compare("single", kernels[k]);
	}
	hmmu_syscall_hook = NULL;
}

/* The first page that cannot be had says why. */
static int expected_error(void)
{
	for (int i = 0; i < PAGES; i++) {
		const struct page *p = &pages[i];

		if (!(asked[i] & READ))
			continue;
		if (!p->mapped || !p->read || p->guard)
			return -EFAULT;
		if ((asked[i] & HMM_PFN_REQ_WRITE) && !p->write)
			return -EPERM;
		/* (A private copy may have outlived its file's end; there is none here.) */
		if (p->beyond && !p->present)
			return -EFAULT;
	}
	return 0;
}

static void check_fault(uint64_t *r, unsigned int without)
{
	bool write_asked = pick(r, 2), hopeless = pick(r, 3) == 0;
	int ret;

	reference();
	for (int i = 0; i < PAGES; i++) {
		const struct page *p = &pages[i];
		bool may = p->mapped && p->read && !p->guard && !p->beyond;

		asked[i] = 0;
		if ((may || (hopeless && pick(r, 40) == 0)) && pick(r, 2))
			asked[i] = write_asked && (p->write || hopeless) && pick(r, 2) ? WRITE
										       : READ;
	}
	memcpy(pfns, asked, sizeof(pfns));
	play(without);
	ret = fault(at, PAGES, pfns, 0, WRITE);
	hmmu_syscall_hook = NULL;
	if (ret != expected_error())
		fail_msg("fault, without %x, seed %llu: %d, not %d", without,
			 (unsigned long long)seed, ret, expected_error());
	if (ret)
		return;
	for (int i = 0; i < PAGES; i++) {
		if ((asked[i] & READ) && !(pfns[i] & VALID))
			fail_msg("seed %llu: page %d was not read", (unsigned long long)seed,
				 i);
		if ((asked[i] & HMM_PFN_REQ_WRITE) && !(pfns[i] & HMM_PFN_WRITE))
			fail_msg("seed %llu: page %d was not written", (unsigned long long)seed,
				 i);
	}
	/* What came in beside it counts as it is now. */
	reference();
	play(without);
	snapshot(at, PAGES, pfns);
	hmmu_syscall_hook = NULL;
	compare("after a fault", without);
}

/*
 * WRITE: a write through the number reaches this very frame. VALID without it, of memory that
 * may be written: another one. The kernel may move a page at any time, so a few strays in
 * thousands are none of ours.
 */
static void check_writes(void)
{
	unsigned char there[PAGE], here[PAGE];

	snapshot(at, PAGES, pfns);
	for (int i = 0; i < PAGES; i++) {
		unsigned char *p = at + (unsigned long)i * PAGE, *dev;

		if (!(pfns[i] & VALID))
			continue;
		dev = hmm_pfn_to_addr(pfns[i]);
		memcpy(there, dev, PAGE);
		/* (process_vm_readv() pins, which gives a page of one's own.) */
		must(pread(mem, here, PAGE, (off_t)p) == (ssize_t)PAGE);
		must(!memcmp(here, there, PAGE));
		ask_page(i);
		if (!pages[i].write)
			continue;
		{
			uint64_t before = pages[i].frame;

			dev[9]++;
			must(p[9] == (unsigned char)(there[9] + 1));
			ask_page(i);
			writes++;
			strays +=
				(pages[i].frame == before) != ((pfns[i] & HMM_PFN_WRITE) != 0);
		}
	}
}

static void run(uint64_t one)
{
	uint64_t r = seed = one;
	int end = -1;
	pid_t pid = 0;

	mixture(&r);
	if (pick(&r, 2)) {
		pid = fork_holding(&end);
		for (int i = 0; i < PAGES; i++) {
			reference();
			if (pages[i].mapped && pages[i].write && pages[i].read &&
			    !pages[i].beyond && !pages[i].guard && pick(&r, 4) == 0)
				at[i * PAGE]++;
			i += (int)pick(&r, 16);
		}
	}
	check_snapshots();
	check_fault(&r, kernels[pick(&r, 4)]);
	check_fault(&r, kernels[pick(&r, 4)]);
	reference();
	check_writes();
	if (pid) {
		close(end);
		must(waitpid(pid, NULL, 0) == pid);
		check_snapshots();
	}
}

static void mixtures(void **state)
{
	const char *s = getenv("HMM_SEED"), *n = getenv("HMM_ROUNDS");
	uint64_t first = s ? strtoull(s, NULL, 0) : 1;
	unsigned int rounds = s ? 1 : n ? (unsigned int)atoi(n) : 40;

	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (kpageflags < 0)
		skip();
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	must(pagemap >= 0 && mem >= 0);
	file = file_of(FILE_PAGES);
	memfd = memfd_of(FILE_PAGES);
	at = map_anon(PAGES);
	have_guards = madvise(at, PAGE, MADV_GUARD_INSTALL) == 0;
	if (have_guards) {
		ask_page(0);
		have_guards = pages[0].guard; /* 6.15: it is told */
	}
	for (unsigned int i = 0; i < rounds; i++)
		run(first + i);
	print_message("%u writes, %u strays\n", writes, strays);
	assert_true(writes > 100);
	assert_true(strays <= 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(mixtures)};

	if (argc > 1)
		setenv("HMM_SEED", argv[1], 1);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
