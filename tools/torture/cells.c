// SPDX-License-Identifier: MIT
/*
 * cells.c - operation x memory: what runs, what can show a stale access, what is
 * legal while the change goes on.
 *
 * How the new generation g + 1 comes in ("stores": by the CPU, in place, after
 * the change; otherwise it was complete before it became visible):
 *
 *   munmap	    munmap, then mmap of the same address (by hint: an mmap that
 *		    replaces nothing). memfd: another part of the file, which holds
 *		    g + 1 already
 *   map-fixed	    mmap(MAP_FIXED) over it, the same
 *   mremap	    grows by a page where it cannot, so it moves; then mmap as munmap
 *   mremap-fixed   a mapping with g + 1 is moved over it
 *   dontneed	    madvise(MADV_DONTNEED)
 *   madv-free	    madvise(MADV_FREE): until g + 1 is stored, old or zero
 *   remove	    madvise(MADV_REMOVE): a hole in the object
 *   brk	    the break goes down and up again
 *   fork	    the child calls _exit at once; then g + 1 is stored
 *   free	    free() of a block that malloc() had mapped, malloc() again
 */
#include "torture.h"

const char *const op_names[NR_OPS] = {
	"munmap",    "map-fixed", "mremap", "mremap-fixed", "dontneed",
	"madv-free", "remove",	  "brk",    "fork",	    "free",
};
const char *const disturb_names[NR_DISTURB] = {"signals", "forks"};
const char *const memory_names[NR_MEMORIES] = {"anon", "shared", "memfd", "file"};
const char *const column_names[NR_COLUMNS] = {"unprotected", "start-only", "hmmu"};

/* clang-format off */
#define SHOWS(what) {.runs = true, .shows = true, .between = what, .stores = true}
#define HOLE(what) {.runs = true, .shows = true, .between = what, .hole = true, .stores = true}
#define HOLE_WHOLE {.runs = true, .shows = true, .between = BETWEEN_NOTHING, .hole = true}
#define WHOLE {.runs = true, .shows = true, .between = BETWEEN_NOTHING}
#define SILENT(what, why) {.runs = true, .between = what, .stores = true, .note = why}
#define NOT(why) {.note = why}
/* clang-format on */

/* Private anonymous, shared anonymous, memfd, private file: in this order. */
const struct cell cells[NR_OPS][NR_MEMORIES] = {
	[OP_MUNMAP] = {HOLE(BETWEEN_ZEROS), HOLE(BETWEEN_ZEROS), HOLE_WHOLE,
		       HOLE(BETWEEN_FILE)},
	[OP_MAP_FIXED] = {SHOWS(BETWEEN_ZEROS), SHOWS(BETWEEN_ZEROS), WHOLE,
			  SHOWS(BETWEEN_FILE)},
	[OP_MREMAP] = {HOLE(BETWEEN_ZEROS), HOLE(BETWEEN_ZEROS), HOLE_WHOLE,
		       HOLE(BETWEEN_FILE)},
	[OP_MREMAP_FIXED] = {WHOLE, WHOLE, WHOLE, WHOLE},
	[OP_DONTNEED] = {SHOWS(BETWEEN_ZEROS), SILENT(BETWEEN_NOTHING, 'd'),
			 SILENT(BETWEEN_NOTHING, 'd'), SHOWS(BETWEEN_FILE)},
	[OP_MADV_FREE] = {SILENT(BETWEEN_ZEROS, 'e'), NOT('a'), NOT('a'), NOT('a')},
	[OP_REMOVE] = {NOT('b'), SHOWS(BETWEEN_ZEROS), SHOWS(BETWEEN_ZEROS), NOT('b')},
	[OP_BRK] = {SHOWS(BETWEEN_ZEROS), NOT('c'), NOT('c'), NOT('c')},
	[OP_FORK] = {SILENT(BETWEEN_NOTHING, 'f'), SILENT(BETWEEN_NOTHING, 'd'),
		     SILENT(BETWEEN_NOTHING, 'd'), SILENT(BETWEEN_NOTHING, 'f')},
	[OP_FREE] = {HOLE(BETWEEN_ZEROS), NOT('c'), NOT('c'), NOT('c')},
};

const char cell_notes[] = "abcdef";

const char *cell_note(char note)
{
	switch (note) {
	case 'a':
		return "does not exist: MADV_FREE takes private anonymous memory only (EINVAL)";
	case 'b':
		return "does not exist: MADV_REMOVE needs a shared mapping (EINVAL, EACCES)";
	case 'c':
		return "does not exist: brk and malloc give private anonymous memory";
	case 'd':
		return "cannot be stale: the object keeps its pages, and the pin is on them";
	case 'e':
		return "cannot be stale: a pinned page is not freed; old or zero is legal";
	case 'f':
		return "cannot be stale: fork copies pinned pages; the parent keeps its own";
	default:
		return "";
	}
}

const char legality_table[] =
	"What an access may see while a change from generation g to g+1 goes on, beside\n"
	"those two (before and after it: exactly the one that is there):\n"
	"\n"
	"                anon      shared    memfd     file\n"
	"  munmap      * zeros     zeros     -         the file's\n"
	"  map-fixed     zeros     zeros     -         the file's\n"
	"  mremap      * zeros     zeros     -         the file's\n"
	"  mremap-fixed  -         -         -         -\n"
	"  dontneed      zeros     -  (d)    -  (d)    the file's\n"
	"  madv-free     zeros (e) n/a (a)   n/a (a)   n/a (a)\n"
	"  remove        n/a (b)   zeros     zeros     n/a (b)\n"
	"  brk           zeros     n/a (c)   n/a (c)   n/a (c)\n"
	"  fork          -  (f)    -  (d)    -  (d)    -  (f)\n"
	"  free        * zeros     n/a (c)   n/a (c)   n/a (c)\n"
	"\n"
	"anon: private anonymous; shared: shared anonymous;\n"
	"file: private, of a disk file.\n"
	"* The address is unmapped for a moment: then an access is refused (EFAULT), or\n"
	"  sees what else the process maps there meanwhile, but never another generation.\n";
