// SPDX-License-Identifier: MIT
/*
 * changes.c - each change that the mm says it is told of (hmmu_mm_describe()), by libc's
 * symbol and by a raw system call, and the device's check after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "wraps.h"
#include "arch/syscall.h"

static struct hmmu_coverage cells[HMMU_OP_NR * HMMU_CALLER_NR * 4];
#define NR_CELLS (sizeof(cells) / sizeof(cells[0]))

static unsigned int describe(struct mm_struct *mm)
{
	int n = quiet(hmmu_mm_describe(mm, cells, NR_CELLS));

	DOCUMENTED("describe", n < 0 ? n : 0, EINVAL, ENODEV);
	return n < 0 ? 0 : (unsigned int)n;
}

unsigned int exactness(struct mm_struct *mm, unsigned int op, unsigned int caller)
{
	unsigned int n = describe(mm), best = 0;

	for (unsigned int i = 0; i < n && i < NR_CELLS; i++)
		if (cells[i].operation == op && cells[i].caller == caller &&
		    cells[i].exactness > best)
			best = cells[i].exactness;
	return best;
}

uint32_t coverage_sum(struct mm_struct *mm)
{
	unsigned int n = describe(mm);
	uint32_t sum = 2166136261u;

	for (unsigned int i = 0; i < n && i < NR_CELLS; i++)
		sum = (sum ^
		       (cells[i].operation << 16 ^ cells[i].caller << 8 ^ cells[i].exactness)) *
		      16777619u;
	return sum;
}

/* The application's own calls: libc's symbol, or the instruction. 0 or -errno. */
static long by_libc(long ret)
{
	return ret == -1 ? -errno : ret;
}

#define APP(raw, nr, libc, ...)                                                           \
	({                                                                                \
		long app_ret;                                                             \
		fault->in_app = 1;                                                        \
		app_ret = (raw) ? hmmu_syscall6(nr, __VA_ARGS__) : by_libc((long)(libc)); \
		fault->in_app = 0;                                                        \
		app_ret;                                                                  \
	})

/* Memory again where it was, whatever was refused. */
static void put_back(struct region *r)
{
	void *p = (void *)APP(false, 0,
			      __real_mmap64(r->at, REGION, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
					    -1, 0),
			      0, 0, 0, 0, 0, 0);

	if (hmmu_is_err((long)p))
		p = (void *)hmmu_syscall6(SYS_mmap, (long)r->at, REGION, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
					  0);
	if (p != r->at)
		broken("the test lost its memory: %ld", (long)p);
	region_check(r, "the address was handed out again");
	region_store(r);
}

static void by_munmap(struct region *r, bool raw)
{
	long ret = APP(raw, SYS_munmap, munmap(r->at, REGION), (long)r->at, REGION, 0, 0, 0, 0);

	if (!ret)
		r->truth = ~0ULL;
	region_check(r, raw ? "a raw munmap" : "munmap");
	if (!ret)
		put_back(r);
}

static void by_map_over(struct region *r, bool raw)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	long ret = APP(raw, SYS_mmap, __real_mmap64(r->at, REGION, prot, flags, -1, 0),
		       (long)r->at, REGION, prot, flags, -1, 0);

	if (!hmmu_is_err(ret))
		r->truth = 0;
	region_check(r, raw ? "a raw MAP_FIXED" : "MAP_FIXED");
	region_store(r);
}

static void by_remap(struct region *r, bool raw)
{
	void *to = fresh(REGION);
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	long ret = APP(raw, SYS_mremap, mremap(r->at, REGION, REGION, flags, to), (long)r->at,
		       REGION, REGION, flags, (long)to, 0);

	if (!hmmu_is_err(ret))
		r->truth = ~0ULL;
	region_check(r, raw ? "a raw mremap" : "mremap");
	if (!hmmu_is_err(ret))
		put_back(r);
	hmmu_syscall6(SYS_munmap, (long)to, REGION, 0, 0, 0, 0);
}

static void by_advice(struct region *r, bool raw)
{
	long ret = APP(raw, SYS_madvise, madvise(r->at, REGION, MADV_DONTNEED), (long)r->at,
		       REGION, MADV_DONTNEED, 0, 0, 0);

	if (!ret)
		r->truth = 0;
	region_check(r, raw ? "a raw madvise" : "madvise");
	/* No page is where zeros are: what is stored is another page. */
	region_store(r);
}

/* The pages stay: only the callback tells. */
static void by_protection(struct region *r, bool raw)
{
	unsigned int calls = atomic_load(&r->calls);
	bool cached = r->cached;
	long ret = APP(raw, SYS_mprotect, mprotect(r->at, REGION, PROT_READ), (long)r->at,
		       REGION, PROT_READ, 0, 0, 0);

	if (!ret && cached && atomic_load(&r->calls) == calls &&
	    quiet(hmmu_access_ok(&r->sub, r->seq)))
		broken("unwatched: nobody was told of %s", raw ? "a raw mprotect" : "mprotect");
	hmmu_syscall6(SYS_mprotect, (long)r->at, REGION, PROT_READ | PROT_WRITE, 0, 0, 0);
}

/* A file's pages: the region becomes a mapping of one, and anonymous again. */
static void by_file(struct region *r, bool raw, bool punch)
{
	const int fixed = MAP_SHARED | MAP_FIXED;
	int fd = __real_memfd_create("fault", MFD_CLOEXEC);
	long ret;

	__real_ftruncate64(fd, REGION);
	region_remove(r);
	hmmu_syscall6(SYS_mmap, (long)r->at, REGION, PROT_READ | PROT_WRITE, fixed, fd, 0);
	region_store(r);
	if (!region_insert(r, r->mm) && region_load(r)) {
		if (punch)
			ret = APP(raw, SYS_fallocate, fallocate(fd, 3, 0, REGION), fd, 3, 0,
				  REGION, 0, 0);
		else
			ret = APP(raw, SYS_ftruncate, __real_ftruncate64(fd, 0), fd, 0, 0, 0, 0,
				  0);
		if (!ret)
			r->truth = 0;
		region_check(r, punch ? "fallocate" : "ftruncate");
	}
	region_remove(r);
	hmmu_syscall6(SYS_mmap, (long)r->at, REGION, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	close(fd);
	region_store(r);
	region_insert(r, r->mm);
}

static void by_ftruncate(struct region *r, bool raw)
{
	by_file(r, raw, false);
}

static void by_fallocate(struct region *r, bool raw)
{
	by_file(r, raw, true);
}

static const struct {
	unsigned int op;
	void (*make)(struct region *r, bool raw);
} all[] = {
	{HMMU_OP_MUNMAP, by_munmap},	   {HMMU_OP_MMAP_FIXED, by_map_over},
	{HMMU_OP_MREMAP, by_remap},	   {HMMU_OP_MADVISE, by_advice},
	{HMMU_OP_MPROTECT, by_protection}, {HMMU_OP_FTRUNCATE, by_ftruncate},
	{HMMU_OP_FALLOCATE, by_fallocate},
};

void changes(struct life *life)
{
	unsigned int k = 0;

	for (int raw = 0; raw < 2; raw++) {
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			unsigned int caller = raw ? HMMU_CALLER_RAW : HMMU_CALLER_LIBC;
			struct region *r = &life->region[k++ % REGIONS];

			if (exactness(life->mm, all[i].op, caller) < HMMU_BY_RETURN_REUSE_OPEN)
				continue;
			stage(raw ? "raw change" : "change");
			if (region_load(r))
				all[i].make(r, raw);
			region_load(r);
		}
	}
}
