// SPDX-License-Identifier: MIT
/*
 * file.c - ftruncate, truncate, fallocate: the pages of a file change under its mappings.
 *
 *	call				pages of the file that change
 *	ftruncate, truncate		from the one that holds the smaller of the old and
 *					the new size (its rest is zeroed) to the end
 *	fallocate PUNCH_HOLE		[offset, offset + len)
 *	ZERO_RANGE, WRITE_ZEROES	the same; without KEEP_SIZE also what the file grows by
 *	mode 0				what the file grows by
 *	COLLAPSE_, INSERT_RANGE		from offset to the end
 *	KEEP_SIZE, UNSHARE_RANGE	none: other frames, the same bytes
 *	a mode not known here		all
 *	madvise REMOVE			PUNCH_HOLE of what is mapped there
 *
 * Growth takes nothing away but that addresses behind the end stop to fault; it is
 * bracketed because who caches may hold "it faults", too. posix_fallocate only grows, and
 * is left alone.
 *
 * WHERE those pages are mapped stands in /proc/self/maps: the lines of the same device and
 * inode. Some file systems give stat() another device than the lines have (btrfs: one for
 * each subvolume), or another inode as well (overlayfs, and whatever is not known here):
 * there the device, or both, are not compared, and the change is said to be larger than it
 * is. If the lines cannot be read, everything changes.
 *
 * THE RACE
 *
 *	ftruncate			another thread
 *	reads the lines
 *					maps the file, reads a page's truth, installs it
 *	start of what was found
 *	the system call: the page goes
 *					uses the page		[Required: told of it]
 *
 * The list is read once more after the call, and what is new is bracketed then, before
 * ftruncate returns: such a mapping is told by return, not before. (The two calls are
 * concurrent; which is first is anybody's.)
 *
 * MADV_REMOVE names its files by where they are mapped, and by the second reading they may
 * be unmapped there. So the first one notes which they are, and which of their pages:
 *
 *	madvise(A, REMOVE)		other threads
 *	notes the files at A
 *					map the file at B, use the page
 *	start; the call: the page goes
 *					munmap(A)
 *	looks for what was noted, and for what is at A now
 *	B is told			[Required]
 *
 * Who maps yet another file at A, and unmaps that as well before the second reading, has
 * that race with the call itself.
 *
 * truncate's path could lead to another file by the time of the call. It is opened once
 * (O_PATH, which neither blocks nor needs rights) and the call is made on what was opened,
 * by its name in /proc. Where that cannot be done the call is made as it is, and
 * everything changes. A descriptor that another thread replaces meanwhile is the
 * program's race.
 *
 * libc's fallocate is a cancellation point; POSIX knows no such call, and the replacement
 * is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

#define MODE_KEEP_SIZE 0x01
#define MODE_PUNCH_HOLE 0x02
#define MODE_COLLAPSE_RANGE 0x08
#define MODE_ZERO_RANGE 0x10
#define MODE_INSERT_RANGE 0x20
#define MODE_UNSHARE_RANGE 0x40
#define MODE_WRITE_ZEROES 0x80

/* Which words of a line tell a file. */
enum identity {
	BY_BOTH,
	BY_INODE,
	BY_NOTHING, /* any file */
};

struct file {
	enum identity identity;
	unsigned long inode;
	unsigned int major;
	unsigned int minor;
	unsigned long size;
	unsigned long from; /* pages of it that change: [from, to) in bytes */
	unsigned long to;
};

/* By the magic number of its file system, as in linux/magic.h. */
HMMU_HOOK static enum identity identity_of(int fd)
{
	struct statfs fs;

	fs.f_type = 0;
	if (hmmu_syscall(SYS_fstatfs, fd, &fs))
		return BY_NOTHING;
	switch ((unsigned long)fs.f_type) {
	case 0x01021994: /* tmpfs, memfd */
	case 0x958458f6: /* hugetlbfs */
	case 0x858458f6: /* ramfs */
	case 0x5345434d: /* memfd_secret */
	case 0xef53:	 /* ext2, 3, 4 */
	case 0x58465342: /* xfs */
	case 0xf2f52010: /* f2fs */
		return BY_BOTH;
	case 0x9123683e: /* btrfs */
		return BY_INODE;
	default:
		return BY_NOTHING;
	}
}

/* 0, or -errno: not known. */
HMMU_HOOK static long identify(int fd, struct file *f)
{
	struct statx st;
	long err;

	err = hmmu_syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE, &st);
	if (err)
		return err;
	f->inode = st.stx_ino;
	f->major = st.stx_dev_major;
	f->minor = st.stx_dev_minor;
	f->size = st.stx_size;
	f->identity = identity_of(fd);
	return 0;
}

HMMU_HOOK static bool is_of(const struct hmmu_mapping *m, const struct file *f)
{
	if (!m->inode || f->identity == BY_NOTHING)
		return m->inode != 0;
	if (m->inode != f->inode)
		return false;
	return f->identity == BY_INODE || (m->major == f->major && m->minor == f->minor);
}

/* The part of the mapping that shows pages [from, to) of its file. */
HMMU_HOOK static bool part(const struct hmmu_mapping *m, const struct file *f,
			   unsigned long *start, unsigned long *end)
{
	unsigned long from = f->from & -HMMU_PAGE, to = f->to;
	unsigned long last = m->offset + (m->end - m->start);

	*start = m->start;
	*end = m->end;
	/* What a line says of a file of another name is not known to be this one's. */
	if (f->identity == BY_NOTHING)
		return true;
	if (last < m->offset || from >= last || to <= m->offset)
		return false;
	if (from > m->offset)
		*start += from - m->offset;
	if (to < last)
		*end -= (last - to) & -HMMU_PAGE;
	return *start < *end;
}

HMMU_HOOK static bool has(const struct hmmu_change *done, unsigned long start,
			  unsigned long end)
{
	for (unsigned int i = 0; i < done->n; i++)
		if (done->range[i].start <= start && end <= done->range[i].end)
			return true;
	return false;
}

/* Adds where the pages of @n files are mapped, but for what @done has. The list is read
 * once. */
HMMU_HOOK static void add_mapped(struct hmmu_change *c, const struct file *f, unsigned int n,
				 const struct hmmu_change *done)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	unsigned long start, end;
	unsigned int before = c->n;

	if (has(done, 0, HMMU_TOP))
		return;
	if (hmmu_maps_open(&maps)) {
		while (hmmu_maps_next(&maps, &m))
			for (unsigned int i = 0; i < n; i++)
				if (is_of(&m, &f[i]) && part(&m, &f[i], &start, &end) &&
				    !has(done, start, end))
					hmmu_change_add(c, MMU_NOTIFY_CLEAR, start, end);
		hmmu_maps_close(&maps);
	}
	if (maps.failed) {
		c->n = before;
		hmmu_change_add(c, MMU_NOTIFY_CLEAR, 0, HMMU_TOP);
	}
}

HMMU_HOOK static void add_everything(struct hmmu_change *c)
{
	c->n = 0;
	hmmu_change_add(c, MMU_NOTIFY_CLEAR, 0, HMMU_TOP);
}

HMMU_HOOK static long nothing(const struct hmmu_change *c)
{
	return 0;
}

/* Brackets and makes @c, which changes @f; see THE RACE. */
HMMU_HOOK static long make_mapped(struct hmmu_change *c, const struct file *f)
{
	struct hmmu_change late;
	long ret;

	add_mapped(c, f, 1, c);
	ret = hmmu_hook_make(c);
	hmmu_change(&late, HMMU_HOOK_NR, 0);
	late.bare = nothing;
	if (!hmmu_is_err(ret))
		add_mapped(&late, f, 1, c);
	if (late.n)
		hmmu_hook_make(&late);
	return ret;
}

/* The files that a hole goes through. */
#define HOLES 4

struct holes {
	bool everything; /* more of them than fit, or it is not known which */
	unsigned int n;
	struct file file[HOLES];
};

/* The part of line @m that is in [start, end). Of one file all between the first and the
 * last page is noted. Lines compare to lines: both words are the same. */
HMMU_HOOK static void note(struct holes *h, const struct hmmu_mapping *m, unsigned long start,
			   unsigned long end)
{
	unsigned long from = m->offset + (start > m->start ? start - m->start : 0);
	unsigned long to = m->offset + (end < m->end ? end : m->end) - m->start;
	struct file *f = h->file;

	while (f < h->file + h->n && !is_of(m, f))
		f++;
	if (f == h->file + HOLES) {
		h->everything = true;
		return;
	}
	if (f == h->file + h->n) {
		h->n++;
		f->identity = BY_BOTH;
		f->inode = m->inode;
		f->major = m->major;
		f->minor = m->minor;
		f->from = from;
		f->to = to;
	}
	f->from = from < f->from ? from : f->from;
	f->to = to > f->to ? to : f->to;
}

/* Every file that is mapped in [start, end), besides those that @h has. */
HMMU_HOOK static void note_files(struct holes *h, unsigned long start, unsigned long end)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;

	if (hmmu_maps_open(&maps)) {
		while (hmmu_maps_next(&maps, &m) && m.start < end)
			if (m.inode && m.end > start)
				note(h, &m, start, end);
		hmmu_maps_close(&maps);
	}
	if (maps.failed)
		h->everything = true;
}

/* Adds where the files of [start, end), and those that @h has, are mapped. */
HMMU_HOOK static void add_holes(struct hmmu_change *c, struct holes *h, unsigned long start,
				unsigned long end, const struct hmmu_change *done)
{
	if (has(done, 0, HMMU_TOP))
		return;
	note_files(h, start, end);
	if (h->everything)
		hmmu_change_add(c, MMU_NOTIFY_CLEAR, 0, HMMU_TOP);
	else if (h->n)
		add_mapped(c, h->file, h->n, done);
}

HMMU_HOOK long hmmu_hook_make_hole(struct hmmu_change *c, unsigned long start,
				   unsigned long end)
{
	struct hmmu_change late;
	struct holes h;
	long ret;

	h.everything = false;
	h.n = 0;
	add_holes(c, &h, start, end, c);
	ret = hmmu_hook_make(c);
	hmmu_change(&late, HMMU_HOOK_NR, 0);
	late.bare = nothing;
	/* Also if it failed: it goes from mapping to mapping, and may have come far. */
	add_holes(&late, &h, start, end, c);
	if (late.n)
		hmmu_hook_make(&late);
	return ret;
}

HMMU_HOOK static void truncated(struct file *f, unsigned long size)
{
	f->from = size < f->size ? size : f->size;
	if (HMMU_HOOK_PLANTED(EOF_NEXT))
		f->from += HMMU_PAGE - 1;
	f->to = ~0UL & -HMMU_PAGE;
}

/* A descriptor that is none changes nothing. */
HMMU_HOOK static long make_unknown(struct hmmu_change *c, long err)
{
	if (err != -EBADF)
		add_everything(c);
	return hmmu_hook_make(c);
}

HMMU_HOOK int hmmu_hook_ftruncate(int fd, long length)
{
	struct hmmu_change c;
	struct file f;
	long err;

	hmmu_hook_saw(HMMU_HOOK_FTRUNCATE);
	hmmu_change(&c, HMMU_HOOK_FTRUNCATE, SYS_ftruncate, fd, length);
	if (length < 0 || fd < 0 || !hmmu_change_wanted(&c))
		return (int)hmmu_hook_answer(hmmu_hook_make(&c));
	err = identify(fd, &f);
	if (err)
		return (int)hmmu_hook_answer(make_unknown(&c, err));
	truncated(&f, (unsigned long)length);
	return (int)hmmu_hook_answer(make_mapped(&c, &f));
}

/* "/proc/self/fd/@fd" */
HMMU_HOOK static void name_of(int fd, char *name)
{
	static const char dir[] = "/proc/self/fd/";
	unsigned int n = sizeof(dir) - 1, digits = 1;

	for (unsigned int i = 0; i < n; i++)
		name[i] = dir[i];
	for (int rest = fd / 10; rest; rest /= 10)
		digits++;
	name[n + digits] = '\0';
	for (; digits--; fd /= 10)
		name[n + digits] = (char)('0' + fd % 10);
}

/* The call on what @fd has open. */
HMMU_HOOK static long truncate_opened(struct hmmu_change *c, int fd)
{
	char name[32];
	struct file f;
	long err = identify(fd, &f);

	if (err)
		return make_unknown(c, err);
	truncated(&f, (unsigned long)c->arg[1]);
	name_of(fd, name);
	/* Without a /proc the name leads nowhere. */
	if (!hmmu_syscall(SYS_faccessat, AT_FDCWD, name, 0))
		c->arg[0] = (long)name;
	else
		add_everything(c);
	return make_mapped(c, &f);
}

HMMU_HOOK int hmmu_hook_truncate(const char *path, long length)
{
	struct hmmu_change c;
	long fd, ret;

	hmmu_hook_saw(HMMU_HOOK_TRUNCATE);
	hmmu_change(&c, HMMU_HOOK_TRUNCATE, SYS_truncate, path, length);
	if (length < 0 || !hmmu_change_wanted(&c))
		return (int)hmmu_hook_answer(hmmu_hook_make(&c));
	fd = hmmu_syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
	if (hmmu_is_err(fd)) {
		add_everything(&c);
		return (int)hmmu_hook_answer(hmmu_hook_make(&c));
	}
	ret = truncate_opened(&c, (int)fd);
	hmmu_syscall(SYS_close, fd);
	return (int)hmmu_hook_answer(ret);
}

/* Which of the file's pages; false: none. */
HMMU_HOOK static bool allocated(struct file *f, int mode, unsigned long offset,
				unsigned long end)
{
	const int harmless = MODE_KEEP_SIZE | MODE_UNSHARE_RANGE;
	const int within = harmless | MODE_PUNCH_HOLE | MODE_ZERO_RANGE | MODE_WRITE_ZEROES;
	const int known = within | MODE_COLLAPSE_RANGE | MODE_INSERT_RANGE;
	bool grows = !(mode & MODE_KEEP_SIZE) && end > f->size;

	f->from = offset;
	f->to = end;
	if (!(mode & ~harmless)) {
		f->from = f->size;
		return grows;
	}
	if (grows && offset > f->size)
		f->from = f->size;
	if (mode & ~known)
		f->from = 0;
	if ((mode & ~within) && !HMMU_HOOK_PLANTED(HOLE_ONLY))
		f->to = ~0UL & -HMMU_PAGE;
	return true;
}

HMMU_HOOK int hmmu_hook_fallocate(int fd, int mode, long offset, long len)
{
	struct hmmu_change c;
	struct file f;
	long err;

	hmmu_hook_saw(HMMU_HOOK_FALLOCATE);
	hmmu_change(&c, HMMU_HOOK_FALLOCATE, SYS_fallocate, fd, mode, offset, len);
	/* What the kernel refuses at once. */
	if (fd < 0 || offset < 0 || len <= 0 || offset + (unsigned long)len > ~0UL >> 1 ||
	    !hmmu_change_wanted(&c))
		return (int)hmmu_hook_answer(hmmu_hook_make(&c));
	err = identify(fd, &f);
	if (err)
		return (int)hmmu_hook_answer(make_unknown(&c, err));
	if (!allocated(&f, mode, (unsigned long)offset, (unsigned long)(offset + len)))
		return (int)hmmu_hook_answer(hmmu_hook_make(&c));
	return (int)hmmu_hook_answer(make_mapped(&c, &f));
}
