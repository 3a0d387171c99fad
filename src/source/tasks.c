// SPDX-License-Identifier: MIT
/* tasks.c - see tasks.h. */
#include "source/tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "arch/syscall.h"

#define LONGEST 64 /* bytes of an entry, more than it has */

unsigned long hmmu_number(const char **p)
{
	unsigned long v = 0;

	while (**p == ' ')
		++*p;
	for (; **p >= '0' && **p <= '9'; ++*p)
		v = v * 10 + (unsigned long)(**p - '0');
	return v;
}

static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

void hmmu_proc_name(char *to, const char *before, int number, const char *after)
{
	char digits[12], *p = append(to, before);
	int n = 0;

	do {
		digits[n++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (n)
		*p++ = digits[--n];
	*append(p, after) = '\0';
}

int hmmu_task_id(const struct hmmu_task *task)
{
	const char *p = task->name;

	return (int)hmmu_number(&p);
}

long hmmu_task_read(const struct hmmu_tasks *t, int id, const char *name, char *buf,
		    size_t size)
{
	char path[HMMU_PROC_NAME];
	long fd, n;

	hmmu_proc_name(path, "", id, name);
	buf[0] = '\0';
	fd = hmmu_syscall(SYS_openat, t->dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fd;
	n = hmmu_syscall(SYS_read, fd, buf, size - 1);
	hmmu_syscall(SYS_close, fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

int hmmu_tasks_open(struct hmmu_tasks *t)
{
	t->n = t->size = 0;
	t->buf = NULL;
	t->dir = (int)hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/task",
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return t->dir < 0 ? t->dir : 0;
}

void hmmu_tasks_close(struct hmmu_tasks *t)
{
	if (t->dir >= 0)
		hmmu_syscall(SYS_close, t->dir);
	if (t->size)
		hmmu_syscall(SYS_munmap, t->buf, t->size);
	t->dir = -1;
	t->n = t->size = 0;
}

static char *list_of(struct hmmu_tasks *t)
{
	return t->size ? t->buf : t->first;
}

static bool grow(struct hmmu_tasks *t)
{
	size_t size = 4 * (t->size ? t->size : sizeof(t->first));
	long p = hmmu_syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hmmu_is_err(p))
		return false;
	if (t->size)
		hmmu_syscall(SYS_munmap, t->buf, t->size);
	t->buf = (char *)p;
	t->size = size;
	return true;
}

/* Bytes, or -errno. From its beginning, as far as one call goes. */
static long read_all(struct hmmu_tasks *t)
{
	for (;;) {
		size_t size = t->size ? t->size : sizeof(t->first);
		long n = hmmu_syscall(SYS_lseek, t->dir, 0, 0 /* SEEK_SET */);

		if (n >= 0)
			n = hmmu_syscall(SYS_getdents64, t->dir, list_of(t), size);
		if (n < 0 || size - (size_t)n >= LONGEST)
			return n;
		if (!grow(t))
			return -ENOMEM;
	}
}

static bool same_still(const struct hmmu_tasks *t, const struct hmmu_task *task)
{
	struct stat st;

	return !hmmu_syscall(SYS_newfstatat, t->dir, task->name, &st, 0) &&
	       st.st_ino == task->ino;
}

int hmmu_tasks_list(struct hmmu_tasks *t)
{
	const struct hmmu_task *last = NULL;
	int64_t shown = 0;
	long n = read_all(t);

	t->n = n > 0 ? (size_t)n : 0;
	if (n < 0)
		return (int)n;
	for (size_t at = 0; at < t->n; at += last->len) {
		last = (const struct hmmu_task *)(list_of(t) + at);
		shown++;
	}
	if (!last)
		return -EAGAIN;
	return last->off == shown && same_still(t, last) ? 0 : -EAGAIN;
}

struct hmmu_task *hmmu_tasks_next(struct hmmu_tasks *t, const struct hmmu_task *prev)
{
	char *at = prev ? (char *)prev + prev->len : list_of(t);

	for (; at < list_of(t) + t->n; at += ((struct hmmu_task *)at)->len)
		if (((struct hmmu_task *)at)->name[0] != '.')
			return (struct hmmu_task *)at;
	return NULL;
}
