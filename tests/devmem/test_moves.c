// SPDX-License-Identifier: MIT
/* test_moves.c - pages leave and come home, content and all; what may leave, what may not. */
#include "dev.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define N 16
#define ARENA 1024

static char owner_a, owner_b;

struct world {
	struct mm_struct *mm;
	struct dev dev;
};

static struct world *world(void)
{
	static struct world w;

	w.mm = net_open(BOTH);
	dev_open(&w.dev, w.mm, ARENA, &owner_a);
	return &w;
}

static void world_end(struct world *w)
{
	dev_check(&w->dev);
	dev_close(&w->dev);
	net_close(w->mm);
}

static char *some(size_t pages, uint64_t seed)
{
	char *p = raw_mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	fill_pages(p, pages, seed);
	return p;
}

static struct hmmu_devmem_stats zero_but(uint64_t out)
{
	return (struct hmmu_devmem_stats){.pages = ARENA, .moved_out = out};
}

static void stats_are(struct dev *d, struct hmmu_devmem_stats want)
{
	struct hmmu_devmem_stats s;

	dev_settle(d);
	s = dev_stat(d);
	if (memcmp(&s, &want, sizeof(s)))
		fprintf(stderr,
			"used %lu resident %lu out %lu back %lu touched %lu brought %lu "
			"dropped %lu refused %lu\n",
			s.used, s.resident, s.moved_out, s.moved_back, s.touched, s.brought,
			s.dropped, s.refused);
	must(!memcmp(&s, &want, sizeof(s)));
}

ISOLATED(out_and_home)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct hmmu_devmem_stats s = zero_but(N);

	must(dev_out(d, p, N) == N);
	for (size_t i = 0; i < N; i++)
		must(away_is(d, p, i, 1));
	s.used = s.resident = N;
	stats_are(d, s);
	must(dev_home(d, p, N) == N);
	must(!dev_at(d, p));
	s.used = s.resident = 0;
	s.moved_back = N;
	stats_are(d, s);
	must(pages_are(p, N, 1));
	stats_are(d, s); /* no touch was needed */
	must(d->revoked == 0 && d->freed == N);
	world_end(w);
}

/* What the device writes is what the CPU reads. */
ISOLATED(device_writes)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);

	must(dev_out(d, p, N) == N);
	for (size_t i = 0; i < N; i++)
		fill_pages(dev_at(d, p + i * PAGE), 1, 100 + i);
	must(dev_home(d, p, N / 2) == N / 2);
	for (size_t i = 0; i < N; i++)
		must(pages_are(p + i * PAGE, 1, 100 + i));
	dev_settle(d);
	must(dev_stat(d).touched == N / 2);
	world_end(w);
}

static void touched_by(struct world *w, char *p, size_t i)
{
	struct dev *d = &w->dev;

	dev_settle(d);
	must(!dev_at(d, p + i * PAGE));
	must(d->last_addr == (unsigned long)p + i * PAGE);
	must(d->last_why == MMU_NOTIFY_MIGRATE);
	must(d->revoked == dev_stat(d).touched);
}

ISOLATED(cpu_touches)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1), buf[PAGE];
	struct iovec local = {buf, PAGE}, remote = {p + 4 * PAGE, PAGE};
	int fds[2];

	must(pipe(fds) == 0);
	must(dev_out(d, p, N) == N);
	must(((volatile uint64_t *)p)[0] == page_word(1, 0));
	touched_by(w, p, 0);
	((volatile uint64_t *)p)[512] = page_word(1, 1);
	touched_by(w, p, 1);
	/* System calls: read from it, write to it. */
	must(write(fds[1], p + 2 * PAGE, PAGE) == (ssize_t)PAGE);
	touched_by(w, p, 2);
	must(read(fds[0], p + 3 * PAGE, PAGE) == (ssize_t)PAGE);
	touched_by(w, p, 3);
	must(!memcmp(p + 2 * PAGE, p + 3 * PAGE, PAGE));
	must(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)PAGE);
	touched_by(w, p, 4);
	must(*(uint64_t *)buf == page_word(1, 4));
	fill_pages(p + 3 * PAGE, 1, 0);
	for (size_t i = 0; i < N; i++)
		must(i == 3 || *(volatile uint64_t *)(p + i * PAGE) == page_word(1, i));
	dev_settle(d);
	must(dev_stat(d).touched == N && d->revoked == N && d->freed == N);
	world_end(w);
}

/* Empty pages leave as zeros; nothing of a former user of the slot is seen. */
ISOLATED(empty_pages)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *old = some(N, 7);
	char *p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);

	must(dev_out(d, old, N) == N && dev_home(d, old, N) == N);
	must(*(volatile char *)(p + 3 * PAGE) == 0); /* the kernel's page of zeros */
	must(dev_out(d, p, N) == N);
	for (size_t i = 0; i < N; i++)
		must(pages_zero(dev_at(d, p + i * PAGE), 1));
	fill_pages(dev_at(d, p + 5 * PAGE), 1, 3);
	must(pages_zero(p, 5) && pages_are(p + 5 * PAGE, 1, 3) &&
	     pages_zero(p + 6 * PAGE, N - 6));
	world_end(w);
}

/* ... nor what the device has left there. */
ISOLATED(empty_into_full_slots)
{
	struct world *w = world();
	char *p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	struct trip *t = trip_new(&w->dev, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	for (size_t i = 0; i < N; i++)
		fill_pages((char *)(migrate_pfn_to_pfn(t->dst[i]) * PAGE), 1, 7);
	trip_pages(t);
	must(trip_finalize(t) == N);
	for (size_t i = 0; i < N; i++)
		must(pages_zero(dev_at(&w->dev, p + i * PAGE), 1));
	must(pages_zero(p, N));
	world_end(w);
}

/* A first touch of a page in a mapping that has pages away. */
ISOLATED(empty_neighbours)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);

	fill_pages(p, 2, 1);
	must(dev_out(d, p, 2) == 2);
	must(pages_zero(p + 2 * PAGE, 4));
	fill_pages(p + 6 * PAGE, 4, 9);
	must(pages_are(p + 6 * PAGE, 4, 9));
	must(pages_are(p, 2, 1));
	world_end(w);
}

/* It stays; and what is away when it becomes read-only comes home, by copy where nobody has
 * told: then the slot holds what its last user left. */
ISOLATED(read_only)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);

	must(mprotect(p, N * PAGE, PROT_READ) == 0);
	must(dev_out(d, p, N) == 0);
	must(pages_are(p, N, 1));
	must(mprotect(p, N * PAGE, RW) == 0);
	must(dev_out(d, p, N) == N);
	must(hmmu_syscall(SYS_mprotect, p, N * PAGE, PROT_READ) == 0);
	must(pages_are(p, N / 2, 1)); /* touched */
	must(dev_home(d, p, N) == N / 2);
	must(pages_are(p, N, 1));
	must(dev_out(d, p, N) == 0);
	must(mprotect(p, N * PAGE, RW) == 0);
	fill_pages(p, N, 2);
	must(dev_out(d, p, N) == N);
	for (size_t i = 0; i < N; i++)
		must(away_is(d, p, i, 2));
	must(mprotect(p, N * PAGE, PROT_READ) == 0);
	must(dev_stat(d).resident == 0);
	must(pages_are(p, N, 2));
	world_end(w);
}

/* It becomes so after it was offered. */
ISOLATED(read_only_since)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	must(hmmu_syscall(SYS_mprotect, p, N * PAGE, PROT_READ) == 0);
	trip_pages(t);
	must(trip_finalize(t) == 0);
	must(pages_are(p, N, 1));
	must(dev_stat(d).used == 0 && dev_stat(d).refused == N);
	world_end(w);
}

/* Memory that nobody can read stays: its content is there when it can be read again. */
ISOLATED(protected)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	must(mprotect(p, N * PAGE, PROT_NONE) == 0);
	trip_setup(t);
	trip_alloc(t);
	trip_pages(t);
	must(trip_finalize(t) == 0);
	must(mprotect(p, N * PAGE, RW) == 0);
	must(pages_are(p, N, 1));
	world_end(w);
}

static size_t refused_out(struct dev *d, char *p, size_t pages)
{
	struct trip *t = trip_new(d, p, pages, MIGRATE_VMA_SELECT_SYSTEM);
	size_t went;

	trip_setup(t);
	must(t->args.npages == pages);
	trip_alloc(t);
	trip_pages(t);
	for (size_t i = 0; i < pages; i++)
		must(!(t->src[i] & MIGRATE_PFN_MIGRATE));
	went = trip_finalize(t);
	must(dev_stat(d).used == 0);
	return went;
}

ISOLATED(shared_and_files)
{
	struct world *w = world();
	int memfd = memfd_create("m", 0), file = open("/proc/self/exe", O_RDONLY);
	char *shared = raw_mmap(NULL, N * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *p;

	fill_pages(shared, N, 1);
	must(refused_out(&w->dev, shared, N) == 0 && pages_are(shared, N, 1));
	must(memfd >= 0 && ftruncate(memfd, N * PAGE) == 0);
	p = raw_mmap(NULL, N * PAGE, RW, MAP_SHARED, memfd, 0);
	fill_pages(p, N, 2);
	must(refused_out(&w->dev, p, N) == 0 && pages_are(p, N, 2));
	p = raw_mmap(NULL, N * PAGE, RW, MAP_PRIVATE, memfd, 0);
	must(pages_are(p, N, 2));
	fill_pages(p, N / 2, 3); /* half of it the process's own */
	must(refused_out(&w->dev, p, N) == 0 && pages_are(p, N / 2, 3));
	must(file >= 0);
	p = raw_mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
	must(refused_out(&w->dev, p, 2) == 0 && !memcmp(p, "\177ELF", 4));
	world_end(w);
}

/* Huge pages by hugetlb: where there are some. */
ISOLATED(hugetlb)
{
	struct world *w = world();
	long p = hmmu_syscall(SYS_mmap, NULL, 2UL << 20, RW, ANON | MAP_HUGETLB, -1, 0);

	if (!hmmu_is_err(p)) {
		must(refused_out(&w->dev, (char *)p, 512) == 0);
	}
	world_end(w);
}

ISOLATED(transparent_huge)
{
	struct world *w = world();
	char *raw = raw_mmap(NULL, 4UL << 20, RW, ANON, -1, 0);
	char *p = (char *)(((unsigned long)raw + (2UL << 20) - 1) & -(2UL << 20));

	must(raw_madvise(p, 2UL << 20, MADV_HUGEPAGE) == 0);
	fill_pages(p, 512, 1);
	must(dev_out(&w->dev, p + 100 * PAGE, 50) == 50); /* split */
	must(pages_are(p, 512, 1));
	must(dev_out(&w->dev, p, 512) == 512);
	for (size_t i = 0; i < 512; i++)
		must(away_is(&w->dev, p, i, 1));
	must(pages_are(p, 100, 1));
	must(dev_home(&w->dev, p, 512) == 412);
	must(pages_are(p, 512, 1));
	world_end(w);
}

/* More than one run, a leaf's end inside. */
ISOLATED(large)
{
	static struct world w;
	char *p = raw_mmap(net_place(0x40000 - 700), 1500 * PAGE, RW,
			   ANON | MAP_FIXED_NOREPLACE, -1, 0);

	w.mm = net_open(BOTH);
	dev_open(&w.dev, w.mm, 2048, &owner_a);
	must((unsigned long)(p + 700 * PAGE) % (1UL << 30) == 0);
	fill_pages(p, 1500, 1);
	must(dev_out(&w.dev, p, 1500) == 1500);
	for (size_t i = 0; i < 1500; i++)
		must(away_is(&w.dev, p, i, 1));
	must(dev_home(&w.dev, p + 600 * PAGE, 200) == 200);
	must(pages_are(p, 1500, 1));
	must(dev_out(&w.dev, p, 1500) == 1500);
	must(mprotect(p, 1500 * PAGE, PROT_READ) == 0);
	must(dev_stat(&w.dev).brought == 1500 && dev_stat(&w.dev).resident == 0);
	must(pages_are(p, 1500, 1));
	must(mprotect(p, 1500 * PAGE, RW) == 0);
	must(dev_out(&w.dev, p, 1500) == 1500);
	must(pages_are(p, 1500, 1));
	world_end(&w);
}

ISOLATED(shared_with_child)
{
	struct world *w = world();
	char *p = some(N, 1);
	int go[2], end[2], status;
	char c = 0;
	pid_t pid;

	must(pipe(go) == 0 && pipe(end) == 0);
	pid = fork();
	if (!pid) {
		if (read(go[0], &c, 1) != 1 || !pages_are(p, N, 1))
			_exit(1);
		_exit(0);
	}
	/* Its pages are shared with the child: the CPU's own copies leave, or they stay. */
	must(dev_out(&w->dev, p, N) == N);
	fill_pages(dev_at(&w->dev, p), 1, 5);
	must(write(go[1], &c, 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	must(pages_are(p, 1, 5));
	for (size_t i = 1; i < N; i++)
		must(away_is(&w->dev, p, i, 1));
	must(dev_home(&w->dev, p, N) == N - 1);
	/* After its end. */
	must(dev_out(&w->dev, p, N) == N);
	must(pages_are(p, 1, 5));
	must(*(volatile uint64_t *)(p + PAGE) == page_word(1, 1));
	world_end(w);
}

ISOLATED(several_mappings)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = raw_mmap(net_place(64), 32 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	struct trip *t;
	size_t n;

	fill_pages(p, 32, 1);
	must(raw_munmap(p + 4 * PAGE, 4 * PAGE) == 0);
	must(mprotect(p + 12 * PAGE, 4 * PAGE, PROT_READ) == 0);
	raw_mmap(p + 20 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	must(mprotect(p + 28 * PAGE, 2 * PAGE, PROT_NONE) == 0);
	t = trip_new(d, p, 32, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(t);
	for (size_t i = 0; i < 32; i++) {
		bool none = (i >= 4 && i < 8) || (i >= 12 && i < 16) || (i >= 20 && i < 24) ||
			    (i >= 28 && i < 30);

		must(!!(t->src[i] & MIGRATE_PFN_MIGRATE) != none);
		must(none || !!(t->src[i] & MIGRATE_PFN_WRITE));
		must(none || migrate_pfn_to_pfn(t->src[i]) == ((unsigned long)p >> 12) + i);
	}
	must(t->args.cpages == 18 && t->args.npages == 32);
	must(trip_alloc(t) == 18);
	trip_pages(t);
	n = trip_finalize(t);
	must(n == 18 && dev_stat(d).resident == 18);
	must(pages_are(p, 4, 1));
	for (size_t i = 8; i < 20; i++)
		must(*(volatile uint64_t *)(p + i * PAGE) == page_word(1, i));
	must(dev_home(d, p, 32) == 6);
	for (size_t i = 24; i < 28; i++)
		must(*(volatile uint64_t *)(p + i * PAGE) == page_word(1, i));
	world_end(w);
}

ISOLATED(arena_full)
{
	static struct world w;
	struct dev *d = &w.dev;
	char *p = some(N, 1);

	w.mm = net_open(BOTH);
	dev_open(d, w.mm, 5, &owner_a);
	must(dev_out(d, p, N) == 5);
	must(hmmu_devmem_alloc(d->map) == 0);
	must(dev_out(d, p, N) == 0);
	must(pages_are(p, N, 1));
	dev_settle(d);
	must(dev_stat(d).used == 0);
	for (size_t i = 0; i < 5; i++)
		must(hmmu_devmem_alloc(d->map) != 0);
	must(hmmu_devmem_alloc(d->map) == 0);
	for (size_t i = 0; i < 5; i++)
		hmmu_devmem_free(d->map, d->map->base / PAGE + i);
	world_end(&w);
}

/* The driver takes a part of what is offered. */
ISOLATED(partly)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(t->args.cpages == N);
	for (size_t i = 0; i < N; i += 2)
		t->dst[i] = migrate_pfn(hmmu_devmem_alloc(d->map));
	trip_pages(t);
	for (size_t i = 0; i < N; i++)
		must(!!(t->src[i] & MIGRATE_PFN_MIGRATE) != (i & 1));
	must(trip_finalize(t) == N / 2);
	for (size_t i = 0; i < N; i++)
		must(!!dev_at(d, p + i * PAGE) != (i & 1));
	t = trip_new(d, p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	trip_setup(t);
	must(t->args.cpages == N / 2);
	for (size_t i = 0; i < N; i++) {
		must(!!t->src[i] != (i & 1));
		must(!t->src[i] || migrate_pfn_to_pfn(t->src[i]) * PAGE ==
					   (unsigned long)dev_at(d, p + i * PAGE));
	}
	t->dst[4] = MIGRATE_PFN_VALID;
	trip_pages(t);
	must(trip_finalize(t) == 1 && !dev_at(d, p + 4 * PAGE) && dev_at(d, p + 6 * PAGE));
	must(pages_are(p, N, 1));
	world_end(w);
}

/* Steps left out, and taken twice. */
ISOLATED(steps)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	migrate_vma_finalize(&t->args);
	must(t->args.private_data == NULL);
	migrate_vma_finalize(&t->args);
	migrate_vma_pages(&t->args);
	must(pages_are(p, N, 1) && dev_stat(d).moved_out == 0);
	trip_setup(t);
	must(trip_alloc(t) == N);
	trip_pages(t);
	trip_pages(t);
	must(trip_finalize(t) == N && dev_stat(d).moved_out == N);
	must(pages_are(p, N, 1));
	migrate_vma_pages(NULL);
	migrate_vma_finalize(NULL);
	world_end(w);
}

/* Slots in an order of their own. */
ISOLATED(scattered)
{
	struct world *w = world();
	struct dev *d = &w->dev;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	for (size_t i = 0; i < N / 2; i++) {
		unsigned long dst = t->dst[i];

		t->dst[i] = t->dst[N - 1 - i];
		t->dst[N - 1 - i] = dst;
	}
	trip_pages(t);
	must(trip_finalize(t) == N);
	for (size_t i = 0; i < N; i++)
		must(away_is(d, p, i, 1));
	must(dev_home(d, p, N / 2) == N / 2);
	/* The others by a change. */
	must(mprotect(p, N * PAGE, PROT_READ) == 0);
	must(dev_stat(d).brought == N / 2);
	must(pages_are(p, N, 1));
	world_end(w);
}

#define bad(field, value, error)                           \
	do {                                               \
		struct migrate_vma args = t->args;         \
		args.field = (value);                      \
		must(migrate_vma_setup(&args) == (error)); \
	} while (0)

ISOLATED(errors_setup)
{
	struct world *w = world();
	struct dev *d = &w->dev, other, same;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM), *u;

	dev_open(&other, w->mm, N, &owner_b);
	dev_open(&same, w->mm, N, &owner_a);
	bad(start, (unsigned long)p + 1, -EINVAL);
	bad(end, (unsigned long)p + N * PAGE - 1, -EINVAL);
	bad(end, (unsigned long)p, -EINVAL);
	bad(end, (unsigned long)p - PAGE, -EINVAL);
	bad(end, -PAGE, -EINVAL);
	bad(src, NULL, -EINVAL);
	bad(dst, NULL, -EINVAL);
	bad(mm, NULL, -EINVAL);
	bad(pagemap, NULL, -EINVAL);
	bad(flags, 0, -EINVAL);
	bad(flags, 3, -EINVAL);
	bad(flags, 4, -EINVAL);
	bad(pgmap_owner, &owner_b, -EINVAL);
	must(migrate_vma_setup(NULL) == -EINVAL);
	/* Nothing is there: nothing to be migrated. */
	must(raw_munmap(p, N * PAGE) == 0);
	trip_setup(t);
	must(t->args.cpages == 0 && t->args.npages == N);
	must(trip_finalize(t) == 0);
	/* Two arenas of one owner: each its own pages. */
	p = some(N, 2);
	must(dev_out(d, p, N / 2) == N / 2);
	must(dev_out(&same, p, N) == N / 2);
	u = trip_new(&same, p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	trip_setup(u);
	must(u->args.cpages == N / 2 && !u->src[0] && u->src[N / 2]);
	must(trip_finalize(u) == 0);
	must(dev_home(d, p, N) == N / 2);
	must(dev_home(&other, p, N) == 0);
	must(dev_home(&same, p, N) == N / 2);
	must(pages_are(p, N, 2));
	dev_check(&other);
	dev_close(&other);
	dev_check(&same);
	dev_close(&same);
	world_end(w);
}

/* A migration of the range is between pages and finalize. */
ISOLATED(setup_twice)
{
	struct world *w = world();
	struct dev *d = &w->dev, other;
	char *p = some(N, 1);
	struct trip *t = trip_new(d, p, N / 2, MIGRATE_VMA_SELECT_SYSTEM);
	struct trip *u;

	dev_open(&other, w->mm, N, &owner_b);
	u = trip_new(&other, p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(t);
	must(trip_alloc(t) == N / 2);
	trip_pages(t);
	must(migrate_vma_setup(&u->args) == -EAGAIN);
	must(u->args.private_data == NULL);
	u->args.start += N / 2 * PAGE;
	must(trip_all(u) == N / 2);
	must(trip_finalize(t) == N / 2);
	must(pages_are(p, N, 1));
	/* Both set up: the first to take a page has it. */
	t = trip_new(d, p, N, MIGRATE_VMA_SELECT_SYSTEM);
	u = trip_new(&other, p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(t);
	trip_setup(u);
	must(t->args.cpages == N && u->args.cpages == N);
	must(trip_alloc(t) == N && trip_alloc(u) == N);
	trip_pages(u);
	trip_pages(t);
	must(trip_finalize(t) == 0 && trip_finalize(u) == N);
	must(dev_stat(d).used == 0);
	must(pages_are(p, N, 1));
	dev_check(&other);
	dev_close(&other);
	world_end(w);
}

/* Two devices want the same pages. */
ISOLATED(two_devices)
{
	struct world *w = world();
	struct dev *a = &w->dev, b;
	char *p = some(N, 1);
	struct trip *t;

	dev_open(&b, w->mm, N, &owner_b);
	must(dev_out(a, p, N) == N);
	must(dev_at(a, p) && !dev_at(&b, p)); /* another's page */
	t = trip_new(&b, p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(t);
	must(t->args.cpages == 0);
	for (size_t i = 0; i < N; i++)
		must(t->src[i] == 0);
	trip_finalize(t);
	must(dev_home(a, p, N) == N);
	must(dev_out(&b, p, N) == N);
	must(pages_are(p, N / 2, 1));
	dev_settle(&b);
	must(a->revoked == 0 && b.revoked == N / 2);
	must(dev_out(a, p, N / 2) == N / 2);
	must(pages_are(p, N, 1));
	dev_check(&b);
	dev_close(&b);
	world_end(w);
}

#define bad_open(field, value, error)                                                     \
	do {                                                                              \
		struct dev_pagemap_options bad_options = options;                         \
		bad_options.field = (value);                                              \
		must(hmmu_devmem_open(&map, w->mm, &ops, NULL, &bad_options) == (error)); \
		must(map == NULL);                                                        \
	} while (0)

static void no_revoke(void *context, unsigned long addr, unsigned long pfn,
		      enum mmu_notifier_event why)
{
}

ISOLATED(errors_open)
{
	struct world *w = world();
	const struct dev_pagemap_options options = {.size = sizeof(options), .bytes = PAGE};
	const struct dev_pagemap_ops ops = {.revoke = no_revoke}, none = {0};
	struct mm_struct *deaf = net_open(HMMU_SOURCE_HOOKS);
	struct dev_pagemap *map = NULL, *many[HMMU_DEVMEM_MAX];
	struct rlimit limit;

	bad_open(size, 8, -EINVAL);
	bad_open(bytes, 0, -EINVAL);
	bad_open(bytes, PAGE + 1, -EINVAL);
	bad_open(bytes, 1UL << 62, -EINVAL);
	must(getrlimit(RLIMIT_AS, &limit) == 0);
	must(setrlimit(RLIMIT_AS, &(struct rlimit){1UL << 33, limit.rlim_max}) == 0);
	bad_open(bytes, 1UL << 40, -ENOMEM);
	must(setrlimit(RLIMIT_AS, &limit) == 0);
	bad_open(flags, 1, -EINVAL);
	bad_open(reserved[2], 1, -EINVAL);
	must(hmmu_devmem_open(NULL, w->mm, &ops, NULL, &options) == -EINVAL);
	must(hmmu_devmem_open(&map, NULL, &ops, NULL, &options) == -EINVAL);
	must(hmmu_devmem_open(&map, w->mm, NULL, NULL, &options) == -EINVAL);
	must(hmmu_devmem_open(&map, w->mm, &none, NULL, &options) == -EINVAL);
	must(hmmu_devmem_open(&map, w->mm, &ops, NULL, NULL) == -EINVAL);
	must(hmmu_devmem_open(&map, deaf, &ops, NULL, &options) == -EOPNOTSUPP);
	for (int i = 0; i < HMMU_DEVMEM_MAX - 1; i++)
		must(hmmu_devmem_open(&many[i], w->mm, &ops, NULL, &options) == 0);
	must(hmmu_devmem_open(&map, w->mm, &ops, NULL, &options) == -EMFILE && !map);
	for (int i = 0; i < HMMU_DEVMEM_MAX - 1; i++)
		must(hmmu_devmem_close(many[i]) == 0);
	must(hmmu_devmem_close(NULL) == -EINVAL);
	must(hmmu_devmem_alloc(NULL) == 0);
	hmmu_devmem_free(w->dev.map, 0);
	hmmu_devmem_free(w->dev.map, w->dev.map->base / PAGE + ARENA);
	hmmu_devmem_stat(w->dev.map, NULL);
	net_close(deaf);
	world_end(w);
}

/* All changes of the second mm are to be heard of: not by an arena's that hears of fewer. */
ISOLATED(more_sources)
{
	const struct dev_pagemap_options options = {.size = sizeof(options), .bytes = PAGE};
	const struct dev_pagemap_ops ops = {.revoke = no_revoke};
	struct mm_struct *few = net_open(ALONE), *more = net_open(BOTH);
	struct dev_pagemap *map = NULL;
	struct dev d;

	dev_open(&d, few, N, &owner_a);
	must(hmmu_devmem_open(&map, more, &ops, NULL, &options) == -EBUSY && !map);
	dev_close(&d);
	must(hmmu_devmem_open(&map, more, &ops, NULL, &options) == 0);
	must(hmmu_devmem_close(map) == 0);
	net_close(few);
	net_close(more);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(out_and_home),
		cmocka_unit_test(device_writes),
		cmocka_unit_test(cpu_touches),
		cmocka_unit_test(empty_pages),
		cmocka_unit_test(empty_into_full_slots),
		cmocka_unit_test(empty_neighbours),
		cmocka_unit_test(read_only),
		cmocka_unit_test(read_only_since),
		cmocka_unit_test(protected),
		cmocka_unit_test(shared_and_files),
		cmocka_unit_test(hugetlb),
		cmocka_unit_test(transparent_huge),
		cmocka_unit_test(large),
		cmocka_unit_test(shared_with_child),
		cmocka_unit_test(several_mappings),
		cmocka_unit_test(arena_full),
		cmocka_unit_test(partly),
		cmocka_unit_test(steps),
		cmocka_unit_test(scattered),
		cmocka_unit_test(errors_setup),
		cmocka_unit_test(setup_twice),
		cmocka_unit_test(two_devices),
		cmocka_unit_test(errors_open),
		cmocka_unit_test(more_sources),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-moves", tests, NULL, NULL);
}
