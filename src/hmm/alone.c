// SPDX-License-Identifier: MIT
/*
 * alone.c - need pagemap be asked, page by page, whether a private page is the process's
 * alone? fork() makes the parent's pages the child's, too, until one of them writes; who
 * writes then gets another page. PAGEMAP_SCAN does not tell; an entry of pagemap does (bit
 * 56), and would make a look at a GiB half as dear again.
 *
 * A counter in pthread_atfork() would miss raw forks and those from before the library was
 * loaded. But there are pages that every process has from exec() on and that nobody writes
 * once it runs: those which ld.so has relocated and then protected (RELRO), in the program
 * and in ld.so itself. Whoever was forked after that and still has this memory shares them.
 * So if each of these witnesses is mapped once, nobody has a page of ours: no child, no
 * child's child, no parent that the process was forked from. When the last of them has gone,
 * by exit or exec, they are alone again as all the other pages are.
 *
 * Two witnesses, for somebody may write to one (a patched GOT) after a fork, and then only
 * the other one tells. Two reads of an entry, 2 us a call. Where there is none (no RELRO, no
 * anonymous page in it, swapped out), each page is asked: slower, and as right. What they
 * cannot tell: a child that unmaps both and keeps others, or has all swapped out (entries.c).
 *
 * Small ranges are asked page by page at once, that is as cheap.
 */
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "hmm/walk.h"

#define WITNESSES 2
#define SMALL (16 * HMM_PAGE)
#define NO_WITNESS 1UL

/* Addresses; 0: not looked for yet. The same whoever stores them, so relaxed is enough. */
static unsigned long witness[WITNESSES];

static bool is_witness(uint64_t entry)
{
	return (entry & HMMU_ENTRY_PRESENT) && !(entry & HMMU_ENTRY_FILE);
}

static bool ask(struct hmm_walk *w, unsigned long addr, uint64_t *entry)
{
	/* Not among those of the look under way. */
	w->entries_n = 0;
	if (hmm_entry_read(w, addr, addr + HMM_PAGE, entry))
		return false;
	w->entries_n = 0;
	return true;
}

/* The first page of the object's RELRO that was written. */
static unsigned long find(struct hmm_walk *w, const ElfW(Phdr) * ph, size_t n,
			  unsigned long base)
{
	for (size_t i = 0; i < n; i++) {
		unsigned long at = (base + ph[i].p_vaddr) & -HMM_PAGE;
		unsigned long end = (base + ph[i].p_vaddr + ph[i].p_memsz) & -HMM_PAGE;
		uint64_t entry = 0;

		if (ph[i].p_type != PT_GNU_RELRO)
			continue;
		for (; at < end; at += HMM_PAGE)
			if (ask(w, at, &entry) && is_witness(entry))
				return at;
	}
	return NO_WITNESS;
}

static unsigned long find_program(struct hmm_walk *w)
{
	const ElfW(Phdr) *ph = (const ElfW(Phdr) *)getauxval(AT_PHDR);
	size_t n = getauxval(AT_PHNUM);
	unsigned long base = 0;

	if (!ph)
		return NO_WITNESS;
	for (size_t i = 0; i < n; i++)
		if (ph[i].p_type == PT_PHDR)
			base = (unsigned long)ph - ph[i].p_vaddr;
	return find(w, ph, n, base);
}

static unsigned long find_ldso(struct hmm_walk *w)
{
	const ElfW(Ehdr) *eh = (const ElfW(Ehdr) *)getauxval(AT_BASE);

	/* ld.so is the program itself, or there is none. */
	if (!eh)
		return find_program(w);
	return find(w, (const ElfW(Phdr) *)((const char *)eh + eh->e_phoff), eh->e_phnum,
		    (unsigned long)eh);
}

static unsigned long address_of(struct hmm_walk *w, int i)
{
	unsigned long at = hmmu_load_relaxed(&witness[i]);

	if (!at) {
		at = i ? find_ldso(w) : find_program(w);
		hmmu_store_relaxed(&witness[i], at);
	}
	return at;
}

static bool all_alone(struct hmm_walk *w)
{
	for (int i = 0; i < WITNESSES; i++) {
		unsigned long at = address_of(w, i);
		uint64_t entry = 0;

		if (at == NO_WITNESS || !ask(w, at, &entry) || !is_witness(entry) ||
		    !(entry & HMMU_ENTRY_ALONE))
			return false;
	}
	return true;
}

bool hmm_must_ask(struct hmm_walk *w)
{
	/* Who asked for frames has each entry read anyway; and see entries.c. */
	if (w->range->flags & HMM_RANGE_PHYSICAL)
		return true;
	if (w->alone == ALONE_UNKNOWN)
		w->alone = w->range->end - w->range->start > SMALL && all_alone(w) ? ALONE_ALL
										   : ALONE_ASK;
	return w->alone == ALONE_ASK;
}
