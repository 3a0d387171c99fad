// SPDX-License-Identifier: MIT
/*
 * inside.c - changes that libc makes by itself, and the dynamic linker's. Where the
 * allocator is another one the memory is not where it is expected: then the path does
 * not exist here (-ENOENT).
 */
#include "doctor.h"

#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEGA (1UL << 20)
#define ARENA (64 * MEGA)
#define DEEP (512UL << 10)

/* The whole pages of [q, q + size). */
static void take(struct probe *p, void *q, size_t size)
{
	uintptr_t start = ((uintptr_t)q + PAGE - 1) & -PAGE, end = (uintptr_t)q + size;

	p->inner = q;
	p->addr = (char *)start;
	p->len = (end & -PAGE) - start;
	p->target = (char *)((start + p->len / 2) & -PAGE);
	memory_fill(p, true);
	p->content = 0; /* free() may scribble over it first (MALLOC_PERTURB_) */
}

static int block(struct probe *p, int threshold, size_t size)
{
	char *q;

	mallopt(M_MMAP_THRESHOLD, threshold);
	mallopt(M_TOP_PAD, 0);
	mallopt(M_TRIM_THRESHOLD, 64 << 10);
	q = malloc(size);
	if (!q)
		return -ENOMEM;
	take(p, q, size);
	return 0;
}

/* ---- free, realloc of a block that malloc has mapped -------------------- */

static int mapped_block(struct probe *p)
{
	int ret = block(p, 128 << 10, MEGA);

	/* A mapped chunk begins a page, and its size word says so (bit 1). */
	if (!ret && ((uintptr_t)p->inner % PAGE != 2 * sizeof(size_t) ||
		     !(((size_t *)p->inner)[-1] & 2)))
		ret = -ENOENT;
	return ret;
}

static int free_block(struct probe *p)
{
	free(p->inner);
	return 0;
}

/* Nothing may lie behind it free, or it would grow in place. */
static int walled_block(struct probe *p)
{
	int ret = mapped_block(p);
	char *end = (char *)(((uintptr_t)p->inner + MEGA + PAGE - 1) & -PAGE);

	if (!ret)
		(void)!mmap(end, PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	return ret;
}

static int grow_block(struct probe *p)
{
	return realloc(p->inner, 3 * MEGA) ? 0 : -ENOMEM;
}

/* ---- the heap: its top goes by brk, its middle by madvise ---------------- */

static int top_block(struct probe *p)
{
	int ret = block(p, 4 << 20, MEGA);
	uintptr_t end = (uintptr_t)p->inner + MEGA, now = (uintptr_t)sbrk(0);

	return ret ? ret : now >= end && now - end < MEGA ? 0 : -ENOENT;
}

static int middle_block(struct probe *p)
{
	int ret = top_block(p);

	char *wall = ret ? NULL : malloc(64 << 10);

	if (!wall)
		return ret ? ret : -ENOMEM;
	return wall > (char *)p->inner && wall < (char *)p->inner + 2 * MEGA ? 0 : -ENOENT;
}

/* Freed before: free() itself leaves the middle of the heap alone. */
static int middle_free(struct probe *p)
{
	int ret = middle_block(p);

	if (!ret)
		free(p->inner);
	return ret;
}

static int trim(struct probe *p)
{
	malloc_trim(0);
	return 0;
}

/* ---- threads ------------------------------------------------------------ */

static struct inner_thread {
	struct probe *p;
	pthread_t thread;
	sem_t ready, go, done;
	int ret;
} inner;

static int start_thread(struct probe *p, void *(*fn)(void *))
{
	int ret;

	inner.p = p;
	sem_init(&inner.ready, 0, 0);
	sem_init(&inner.go, 0, 0);
	sem_init(&inner.done, 0, 0);
	ret = pthread_create(&inner.thread, NULL, fn, &inner);
	if (!ret)
		sem_wait(&inner.ready);
	return ret ? -ret : inner.ret;
}

__attribute__((noinline)) static void use_stack(struct probe *p)
{
	volatile char deep[DEEP];

	memset((void *)deep, 1, sizeof(deep));
	take(p, (void *)deep, DEEP / 2); /* the lower half: far below what exit uses */
}

static void *exiting(void *arg)
{
	struct inner_thread *t = arg;

	use_stack(t->p);
	t->p->shared->changer = (pid_t)raw(SYS_gettid);
	sem_post(&t->ready);
	sem_wait(&t->go);
	return NULL;
}

static int stack_thread(struct probe *p)
{
	return start_thread(p, exiting);
}

static int thread_exit(struct probe *p)
{
	sem_post(&inner.go);
	return -pthread_join(inner.thread, NULL);
}

/* An arena grows into addresses that it has reserved: mprotect. */
static void *growing(void *arg)
{
	struct inner_thread *t = arg;
	struct probe *p = t->p;
	char *q = malloc(64), *heap = (char *)((uintptr_t)q & -ARENA);

	p->addr = heap + 2 * MEGA;
	p->len = 2 * MEGA;
	p->target = heap + 3 * MEGA;
	memcpy(p->rights, "---p", 5);
	p->shared->changer = (pid_t)raw(SYS_gettid);
	t->ret = q && (uintptr_t)q - (uintptr_t)heap < MEGA ? 0 : -ENOENT;
	sem_post(&t->ready);
	sem_wait(&t->go);
	q = malloc(8 * MEGA);
	t->ret = q ? 0 : -ENOMEM;
	sem_post(&t->done);
	sem_wait(&t->go);
	return q;
}

static int arena_thread(struct probe *p)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	return start_thread(p, growing);
}

static int arena_grow(struct probe *p)
{
	sem_post(&inner.go);
	sem_wait(&inner.done);
	return inner.ret;
}

/* ---- the dynamic linker --------------------------------------------------- */

/* Small ones that come with glibc and that hardly anybody links. */
static const char *const libraries[] = {"libBrokenLocale.so.1", "libutil.so.1", "libanl.so.1",
					"libthread_db.so.1"};

struct image {
	uintptr_t base;
	uintptr_t text, relro; /* addresses; 0: it has none */
};

static int describe(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct image *image = arg;

	if (info->dlpi_addr != image->base)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X) && ph->p_offset)
			image->text = image->base + ph->p_vaddr;
		if (ph->p_type == PT_GNU_RELRO)
			image->relro = image->base + ph->p_vaddr;
	}
	return 1;
}

static const char *library;

static void *load(struct image *image)
{
	struct link_map *map;
	void *handle;

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		if (dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD))
			continue;
		handle = dlopen(libraries[i], RTLD_NOW);
		if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map))
			continue;
		library = libraries[i];
		image->base = map->l_addr;
		dl_iterate_phdr(describe, image);
		return handle;
	}
	return NULL;
}

static void page_at(struct probe *p, uintptr_t address)
{
	p->addr = p->target = (char *)(address & -PAGE);
	p->len = PAGE;
}

static int loaded(struct probe *p)
{
	struct image image = {0};

	p->inner = load(&image);
	if (!p->inner)
		return -ENOENT;
	page_at(p, image.base);
	p->content = *(volatile char *)p->target;
	return 0;
}

static int unload(struct probe *p)
{
	return dlclose(p->inner) ? -EINVAL : 0;
}

/* Once loaded and unloaded, it comes to the same place again; if not, the probe says
 * that the change was not seen. */
static int unloaded(struct image *image)
{
	void *handle = load(image);

	return handle && !dlclose(handle) ? 0 : -ENOENT;
}

/* The first mapping covers all with the headers' rights; text is mapped over it. */
static int text_to_come(struct probe *p)
{
	struct image image = {0};

	if (unloaded(&image) || !image.text)
		return -ENOENT;
	page_at(p, image.text);
	memcpy(p->rights, "r--p", 5);
	return 0;
}

static int relro_to_come(struct probe *p)
{
	struct image image = {0};

	if (unloaded(&image) || !image.relro)
		return -ENOENT;
	page_at(p, image.relro);
	memcpy(p->rights, "rw-p", 5);
	return 0;
}

static int load_again(struct probe *p)
{
	return dlopen(library, RTLD_NOW) ? 0 : -ENOENT;
}

#define C(name) (1u << HMMU_CALLER_##name)
#define M(name) (1u << HMMU_MEMORY_##name)
#define GLIBC C(LIBC_INTERNAL), M(ANON)
#define LDSO C(LDSO), M(FILE_PRIVATE)

const struct variant inside_variants[] = {
	{HMMU_OP_MUNMAP, "free", GLIBC, .prepare = mapped_block, .change = free_block},
	{HMMU_OP_MREMAP, "realloc", GLIBC, .prepare = walled_block, .change = grow_block},
	{HMMU_OP_BRK, "free, at the top", GLIBC, .prepare = top_block, .change = free_block},
	{HMMU_OP_MADVISE, "malloc_trim", GLIBC, .prepare = middle_free, .change = trim},
	{HMMU_OP_MADVISE, "thread exit", GLIBC, .prepare = stack_thread, .change = thread_exit},
	{HMMU_OP_MPROTECT, "arena grows", GLIBC, STATE_RIGHTS, .prepare = arena_thread,
	 .change = arena_grow},
	{HMMU_OP_MUNMAP, "dlclose", LDSO, .prepare = loaded, .change = unload},
	{HMMU_OP_MMAP_FIXED, "dlopen", LDSO, STATE_RIGHTS, .prepare = text_to_come,
	 .change = load_again, .late = true},
	{HMMU_OP_MPROTECT, "dlopen", LDSO, STATE_RIGHTS, .prepare = relro_to_come,
	 .change = load_again, .late = true},
	{.name = NULL},
};
