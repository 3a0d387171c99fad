// SPDX-License-Identifier: MIT
/*
 * files.c - the table of open files.
 *
 *	ioctl				close of the last number
 *	lock; found; users++; unlock
 *					lock; the numbers are gone; users != 0; unlock
 *	works
 *	lock; users-- : 0, no number;
 *	unlock; mir_close()
 */
#include "files.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 64
#define NUMBERS 8 /* that one file is known by; more are learned anew */

struct file {
	bool open; /* `dm` is */
	dev_t dev;
	ino_t ino;
	unsigned int users;
	int number[NUMBERS]; /* 0: none, else the number + 1 */
	struct dmirror dm;
};

/* In a child: zeros. */
struct files {
	pthread_mutex_t lock;
	unsigned int open;
	pid_t pid;
	struct mir_process process;
	struct file file[FILES];
};

static struct files *files;

/* Not wiped: what a child has inherited. The latest of the process that opened them. */
static struct {
	dev_t dev;
	ino_t ino;
} inherited[FILES];

int mir_files_init(void)
{
	void *p = mmap(NULL, sizeof(*files), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	if (madvise(p, sizeof(*files), MADV_WIPEONFORK)) {
		munmap(p, sizeof(*files));
		return -EOPNOTSUPP;
	}
	files = p;
	return 0;
}

bool mir_files_any(void)
{
	return files && __atomic_load_n(&files->open, __ATOMIC_RELAXED);
}

/* ---- numbers: all of this with the lock ------------------------------------------------- */

static bool has_number(const struct file *file)
{
	for (unsigned int i = 0; i < NUMBERS; i++) {
		if (file->number[i])
			return true;
	}
	return false;
}

static void add_number(struct file *file, int fd)
{
	int *place = &file->number[0];

	for (unsigned int i = 0; i < NUMBERS; i++) {
		if (file->number[i] == fd + 1)
			return;
		if (!file->number[i])
			place = &file->number[i];
	}
	*place = fd + 1;
}

static void remove_number(struct file *file, int fd)
{
	for (unsigned int i = 0; i < NUMBERS; i++) {
		if (file->number[i] == fd + 1)
			file->number[i] = 0;
	}
}

static bool inode_of(int fd, struct stat *st)
{
	return fstat(fd, st) == 0;
}

/* The kernel is asked: a number may be another file's by now. */
static struct file *find(int fd)
{
	struct file *found = NULL;
	struct stat st;

	if (!inode_of(fd, &st))
		st.st_ino = 0;
	for (unsigned int i = 0; i < FILES; i++) {
		struct file *file = &files->file[i];

		if (!file->open)
			continue;
		if (st.st_ino && file->ino == st.st_ino && file->dev == st.st_dev) {
			add_number(file, fd);
			found = file;
		} else {
			remove_number(file, fd);
		}
	}
	return found;
}

/* ---- lifetime ------------------------------------------------------------------------------
 */

static void unuse(struct file *file)
{
	bool last;

	pthread_mutex_lock(&files->lock);
	last = --file->users == 0 && !has_number(file);
	if (last)
		file->users = 1; /* nobody else finds it: it has no number, and closes once */
	pthread_mutex_unlock(&files->lock);
	if (!last)
		return;
	mir_close(&files->process, &file->dm);
	pthread_mutex_lock(&files->lock);
	file->users = 0;
	file->open = false;
	__atomic_store_n(&files->open, files->open - 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&files->lock);
}

/* In use, until unuse(); NULL. */
static struct file *use(int fd)
{
	struct file *file;

	pthread_mutex_lock(&files->lock);
	file = find(fd);
	if (file)
		file->users++;
	pthread_mutex_unlock(&files->lock);
	return file;
}

/* Those whose numbers were closed unseen. */
static void sweep(void)
{
	for (unsigned int i = 0; i < FILES; i++) {
		struct file *file = &files->file[i];
		bool lost = false;

		pthread_mutex_lock(&files->lock);
		for (unsigned int k = 0; file->open && k < NUMBERS; k++) {
			if (file->number[k])
				find(file->number[k] - 1);
		}
		if (file->open && !file->users && !has_number(file)) {
			file->users++;
			lost = true;
		}
		pthread_mutex_unlock(&files->lock);
		if (lost)
			unuse(file);
	}
}

static struct file *claim(void)
{
	struct file *free_one = NULL;

	pthread_mutex_lock(&files->lock);
	for (unsigned int i = 0; i < FILES && !free_one; i++) {
		if (!files->file[i].open)
			free_one = &files->file[i];
	}
	if (free_one) {
		*free_one = (struct file){.open = true, .users = 1};
		files->pid = getpid();
		__atomic_store_n(&files->open, files->open + 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&files->lock);
	return free_one;
}

static void unclaim(struct file *file)
{
	pthread_mutex_lock(&files->lock);
	file->open = false;
	file->users = 0;
	__atomic_store_n(&files->open, files->open - 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&files->lock);
}

static void publish(struct file *file, int fd, const struct stat *st)
{
	unsigned long place = (unsigned long)(file - files->file);

	pthread_mutex_lock(&files->lock);
	inherited[place].dev = file->dev = st->st_dev;
	inherited[place].ino = file->ino = st->st_ino;
	add_number(file, fd);
	file->users = 0;
	pthread_mutex_unlock(&files->lock);
}

int mir_file_open(unsigned int device, bool cloexec)
{
	struct stat st;
	struct file *file;
	int ret, fd;

	if (!files)
		return -ENOMEM;
	sweep();
	file = claim();
	if (!file)
		return -EMFILE;
	fd = memfd_create("hmm_dmirror", cloexec ? MFD_CLOEXEC : 0);
	if (fd < 0 || !inode_of(fd, &st)) {
		ret = -errno;
		goto err_unclaim;
	}
	ret = mir_open(&files->process, &file->dm, device);
	if (ret)
		goto err_unclaim;
	publish(file, fd, &st);
	return fd;

err_unclaim:
	if (fd >= 0)
		syscall(SYS_close, fd);
	unclaim(file);
	return ret;
}

void mir_file_closing(int fd)
{
	struct file *file;

	/* A child made by vfork() shares the memory and not the descriptors. */
	if (files->pid != getpid())
		return;
	file = use(fd);
	if (!file)
		return;
	pthread_mutex_lock(&files->lock);
	remove_number(file, fd);
	pthread_mutex_unlock(&files->lock);
	unuse(file);
}

void mir_file_dup(int old, int fd)
{
	struct file *file;

	if (files->pid != getpid())
		return;
	file = use(old);
	if (!file)
		return;
	pthread_mutex_lock(&files->lock);
	add_number(file, fd);
	pthread_mutex_unlock(&files->lock);
	unuse(file);
}

/* ---- used
 * -------------------------------------------------------------------------------------- */

static bool is_inherited(int fd)
{
	struct stat st;

	if (!inode_of(fd, &st))
		return false;
	for (unsigned int i = 0; i < FILES; i++) {
		if (inherited[i].ino == st.st_ino && inherited[i].dev == st.st_dev)
			return true;
	}
	return false;
}

int mir_file_ioctl(int fd, unsigned long request, void *arg)
{
	struct file *file = files ? use(fd) : NULL;
	int ret;

	if (!file)
		return is_inherited(fd) ? -ENODEV : -ENOTTY;
	ret = mir_ioctl(&file->dm, request, arg);
	unuse(file);
	return ret;
}

int mir_file_extend(int fd, unsigned long bytes)
{
	struct file *file = files ? use(fd) : NULL;
	struct stat st;
	int ret = 0;

	if (!file)
		return -ENOTTY;
	if (!inode_of(fd, &st) ||
	    ((unsigned long)st.st_size < bytes && syscall(SYS_ftruncate, fd, bytes)))
		ret = -errno;
	unuse(file);
	return ret;
}
