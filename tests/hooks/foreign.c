// SPDX-License-Identifier: MIT
/*
 * foreign.c - a library that patches entries as libfabric's memory hooks do, and what
 * becomes of ours. Its real hooks start only with a provider that has hardware.
 *
 * The patch: 13 bytes, mov imm64,%r11; jmp *%r11, copied over the entry; taken back by
 * writing the bytes that were found (ofi_patch_function(), ofi_write_patch(),
 * ofi_remove_patch(): libfabric, prov/util/src/util_mem_hooks.c). The handlers tell, then
 * make the raw call. One here does what libfabric's do not: it enters the old entry, whose
 * beginning is our jump.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "recorder.h"
#include "source/hooks/hooks.h"

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define BYTES 13

struct patch {
	void *entry;
	uint8_t found[BYTES];
};

static struct {
	int (*munmap)(void *, size_t);
	int (*madvise)(void *, size_t, int);
} libc;

static unsigned int told, told_open;
static bool pass_on, free_one;
static void *old_munmap; /* what lay at the entry, callable */
static int wrong;

static void check(bool ok, const char *what)
{
	printf("%s %s\n", ok ? "ok   " : "WRONG", what);
	wrong += !ok;
}

static void tell(void)
{
	told++;
	told_open += rec_open() > 0;
}

static int on_munmap(void *p, size_t n)
{
	tell();
	/* Its own change, of other memory. */
	if (free_one) {
		void *other = (void *)syscall(SYS_mmap, NULL, PAGE, RW, ANON, -1, 0);

		free_one = false;
		libc.munmap(other, PAGE);
	}
	if (pass_on)
		return ((int (*)(void *, size_t))old_munmap)(p, n);
	return (int)syscall(SYS_munmap, p, n);
}

static int on_madvise(void *p, size_t n, int advice)
{
	tell();
	if (advice == 4711) {
		errno = EXDEV;
		return -1;
	}
	return (int)syscall(SYS_madvise, p, n, advice);
}

static void write_code(void *to, const uint8_t *bytes)
{
	void *page = (void *)((uintptr_t)to & -PAGE);

	if (mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		exit(77);
	memcpy(to, bytes, BYTES);
	mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC);
}

static void put(struct patch *patch, void *entry, void *handler)
{
	uint8_t bytes[BYTES] = {0x49, 0xbb, [10] = 0x41, 0xff, 0xe3};

	patch->entry = entry;
	memcpy(patch->found, entry, BYTES);
	memcpy(bytes + 2, &handler, sizeof(handler));
	write_code(entry, bytes);
}

static void take_back(const struct patch *patch)
{
	write_code(patch->entry, patch->found);
}

/* munmap by libc's entry: how often were they and we told? */
static void expect(unsigned int they, unsigned int we, const char *what)
{
	void *p = (void *)syscall(SYS_mmap, NULL, 2 * PAGE, RW, ANON, -1, 0);

	rec_reset();
	told = told_open = 0;
	rec_watch(true);
	errno = 0;
	check(libc.munmap(p, 2 * PAGE) == 0 && errno == 0, what);
	rec_watch(false);
	check(told == they && rec_starts() == we && !rec_open(), "   each once");
	check(!we || told_open == told, "   theirs within ours");
	check(!we || rec_covers(MMU_NOTIFY_UNMAP, (uintptr_t)p, (uintptr_t)p + 2 * PAGE),
	      "   the range");
}

static void resolve(void)
{
	void *h = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&libc.munmap = dlsym(h, "munmap");
	*(void **)&libc.madvise = dlsym(h, "madvise");
}

static void they_first(void)
{
	struct patch a, b;

	put(&a, (void *)libc.munmap, (void *)on_munmap);
	put(&b, (void *)libc.madvise, (void *)on_madvise);
	check(hmmu_source_hooks.open() == 0 && hmmu_hooks_intact(), "open over them");
	check(hmmu_hook_info[HMMU_HOOK_MUNMAP].state == HMMU_HOOK_PATCHED, "patched");
	expect(1, 1, "they came first");
	/* What their handler answers is the answer. */
	rec_watch(true);
	errno = 0;
	check(libc.madvise((void *)PAGE, PAGE, 4711) == -1 && errno == EXDEV, "their errno");
	rec_watch(false);
	free_one = true;
	rec_reset();
	told = 0;
	rec_watch(true);
	libc.munmap((void *)syscall(SYS_mmap, NULL, PAGE, RW, ANON, -1, 0), PAGE);
	rec_watch(false);
	check(told == 2 && rec_starts() == 2 && !rec_open(), "a change of the handler's own");
	take_back(&a);
	take_back(&b);
	check(!hmmu_hooks_intact(), "they took it back: seen");
	expect(0, 0, "nobody is told");
	check(hmmu_source_hooks.open() == 0 && hmmu_hooks_intact(), "open again");
	expect(0, 1, "we alone");
}

static void they_second(void)
{
	struct patch a;
	uint8_t ours[BYTES];

	memcpy(ours, (void *)libc.munmap, BYTES);
	put(&a, (void *)libc.munmap, (void *)on_munmap);
	check(!hmmu_hooks_intact(), "they patched over us: seen");
	expect(1, 0, "they alone");
	check(hmmu_hooks_restore() == 0 && hmmu_hooks_intact(), "restored");
	expect(1, 1, "both");
	/* A handler that kept the entry: our first jump, at a place of its own. */
	old_munmap = mmap(NULL, PAGE, RW, ANON, -1, 0);
	memcpy(old_munmap, ours, BYTES);
	if (ours[0] == 0xe9) {
		int32_t rel;

		memcpy(&rel, ours + 1, 4);
		*(uint16_t *)old_munmap = 0xbb49;
		*(uint64_t *)((char *)old_munmap + 2) =
			(uint64_t)libc.munmap + 5 + (int64_t)rel;
		memcpy((char *)old_munmap + 10, "\x41\xff\xe3", 3);
		mprotect(old_munmap, PAGE, PROT_READ | PROT_EXEC);
		pass_on = true;
		expect(1, 1, "the handler enters the old entry");
		pass_on = false;
	}
	/* It writes back what it found: our jump. */
	take_back(&a);
	check(hmmu_source_hooks.open() == 0 && hmmu_hooks_intact(), "ours came back");
	rec_reset();
	rec_watch(true);
	libc.munmap((void *)syscall(SYS_mmap, NULL, PAGE, RW, ANON, -1, 0), PAGE);
	rec_watch(false);
	check(rec_starts() == 1, "and fires");
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	resolve();
	they_first();
	they_second();
	printf("%d wrong\n", wrong);
	return wrong ? 1 : 0;
}
