// SPDX-License-Identifier: MIT
/*
 * mended.c - another library patches over our hooks while the whole library watches: it
 * is noticed at the next insert, nothing passes a check until everybody was told LOST,
 * and then the hooks see again. The patch is foreign.c's.
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

#include <hmmu/mmu_notifier.h>

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define BYTES 13

#define must(cond)                                                                 \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                   \
		}                                                                  \
	} while (0)

static unsigned int calls, lost, theirs;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	calls++;
	lost += range->phase == HMMU_PHASE_LOST;
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static int on_munmap(void *p, size_t n)
{
	theirs++;
	return (int)syscall(SYS_munmap, p, n);
}

static void patch(uint8_t *entry)
{
	uint8_t bytes[BYTES] = {0x49, 0xbb, [10] = 0x41, 0xff, 0xe3};
	void *handler = (void *)on_munmap, *page = (void *)((uintptr_t)entry & -PAGE);

	memcpy(bytes + 2, &handler, sizeof(handler));
	if (mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		exit(77);
	memcpy(entry, bytes, BYTES);
	mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC);
}

static char *map(void)
{
	char *p = (char *)syscall(SYS_mmap, NULL, PAGE, RW, ANON, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

int main(void)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_HOOKS,
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	int (*entry)(void *, size_t) = (int (*)(void *, size_t))dlsym(libc, "munmap");
	struct mmu_interval_notifier first, second;
	struct mm_struct *mm;
	char *p = map(), *q = map();
	unsigned long seq;

	if (hmmu_mm_open(&mm, &options))
		return 77; /* nothing is patched here */
	must(!mmu_interval_notifier_insert(&first, mm, (unsigned long)p, PAGE, &ops));
	must(!hmmu_read_begin(&first, &seq, NULL) && hmmu_access_ok(&first, seq));
	patch((uint8_t *)entry);
	must(!mmu_interval_notifier_insert(&second, mm, (unsigned long)q, PAGE, &ops));
	/* Noticed: from now on nothing is good, and nothing can be read. */
	must(!hmmu_access_ok(&first, seq));
	must(hmmu_read_begin(&first, &seq, NULL) == -ENODEV);
	must(hmmu_read_begin(&second, &seq, NULL) == -ENODEV && !calls);
	hmmu_reclaim(mm);
	must(lost == 2);
	calls = 0; /* opening makes harmless changes of its own */
	must(!hmmu_read_begin(&first, &seq, NULL) && hmmu_access_ok(&first, seq));
	/* And it is seen by both. */
	theirs = 0;
	must(!entry(p, PAGE) && calls == 1 && theirs == 1);
	must(!hmmu_access_ok(&first, seq));
	mmu_interval_notifier_remove(&first);
	mmu_interval_notifier_remove(&second);
	must(!hmmu_mm_close(mm));
	return 0;
}
