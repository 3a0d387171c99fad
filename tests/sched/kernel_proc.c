// SPDX-License-Identifier: MIT
/* kernel_proc.c - what the library reads of /proc: see kernel.h. */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "source/tasks.h"

#define NUMBERS (KERNEL_FD + 1)
#define FILES 32
#define TID 100 /* of task 0 */

enum kind { FILE_NONE, FILE_MAPS, FILE_PAGEMAP, FILE_TASKS, FILE_STAT, FILE_SYSCALL };

static struct file {
	enum kind kind;
	unsigned int task, pos;
} files[FILES];

void kernel_proc_reset(void)
{
	memset(files, 0, sizeof(files));
}

static enum kind kind_of(const char *path, unsigned int *task)
{
	*task = 0;
	if (!strcmp(path, "/proc/self/maps"))
		return FILE_MAPS;
	if (!strcmp(path, "/proc/self/pagemap"))
		return FILE_PAGEMAP;
	if (!strcmp(path, "/proc/self/task"))
		return FILE_TASKS;
	if (path[0] < '0' || path[0] > '9')
		return FILE_NONE;
	*task = (unsigned int)atoi(path) - TID;
	return strstr(path, "/stat") ? FILE_STAT : FILE_SYSCALL;
}

static long open_file(const char *path)
{
	unsigned int task, i = 0;
	enum kind kind = kind_of(path, &task);

	if (kind == FILE_NONE)
		return -ENOENT;
	if ((kind == FILE_STAT || kind == FILE_SYSCALL) && kernel.task[task].gone)
		return -ENOENT;
	while (files[i].kind)
		sched_assert(++i < FILES);
	files[i] = (struct file){kind, task, 0};
	return NUMBERS + i;
}

/* One line for each read: the mapping that begins at or behind pos, as it is now. */
static long read_maps(struct file *file, char *buf)
{
	unsigned int first = file->pos, n = 1;

	while (first < KERNEL_PAGES && !kernel.page[first].mapping)
		first++;
	if (first >= KERNEL_PAGES)
		return 0;
	while (first + n < KERNEL_PAGES &&
	       kernel.page[first + n].mapping == kernel.page[first].mapping)
		n++;
	file->pos = first + n;
	return sprintf(buf, "%lx-%lx rw-p 0 0:0 0\n", KERNEL_ADDR(first),
		       KERNEL_ADDR(file->pos));
}

static bool is_source(unsigned int task)
{
	return task < KERNEL_OURS;
}

/* As it is at this moment. Who is in user space runs, or sleeps in some other call. */
static bool runs(unsigned int task)
{
	if (is_source(task) || kernel.task[task].asleep)
		return false;
	return kernel.task[task].call || sched_random(2);
}

static long read_stat(const struct file *file, char *buf)
{
	if (kernel.task[file->task].gone)
		return -ESRCH;
	return sprintf(buf, "%u (t (x) y) %c 1 1 1 0 -1 4194304 0 0", TID + file->task,
		       runs(file->task) ? 'R' : 'S');
}

static long read_syscall(const struct file *file, char *buf)
{
	const struct kernel_task *task = &kernel.task[file->task];

	if (task->gone)
		return -ESRCH;
	if (runs(file->task))
		return sprintf(buf, "running\n");
	if (task->call)
		return sprintf(buf, "%ld 0x10000000 0x1000 0x4\n", task->call);
	return sprintf(buf, sched_random(4) ? "202 0x7f00 0x80\n" : "-1 0x7f00 0x7f00\n");
}

static long read_file(struct file *file, char *buf)
{
	kernel_point();
	switch (file->kind) {
	case FILE_MAPS:
		return read_maps(file, buf);
	case FILE_STAT:
		return read_stat(file, buf);
	case FILE_SYSCALL:
		return read_syscall(file, buf);
	default:
		return -EINVAL;
	}
}

/* From its beginning. One that ends while it is visited is the last. */
static long list_tasks(char *buf)
{
	struct hmmu_task *task;
	int64_t visited = 0;
	long at = 0;

	kernel_point();
	for (unsigned int i = 0; i < SCHED_MAX_THREADS; i++) {
		if (kernel.task[i].gone)
			continue;
		visited++;
		if (sched_random(2))
			kernel_point();
		task = (struct hmmu_task *)(buf + at);
		if (!kernel.task[i].gone || sched_random(2)) {
			memset(task, 0, 32);
			task->ino = 1000 + i;
			task->len = 32;
			sprintf(task->name, "%u", TID + i);
			at += 32;
		}
		task = (struct hmmu_task *)(buf + at - 32);
		if (at)
			task->off = visited;
		if (kernel.task[i].gone)
			break;
	}
	return at;
}

static long stat_task(const char *name, struct stat *st)
{
	unsigned int i = (unsigned int)atoi(name) - TID;

	kernel_point();
	if (kernel.task[i].gone)
		return -ENOENT;
	st->st_ino = 1000 + i;
	return 0;
}

static long procmap(struct hmmu_procmap_query *q)
{
	struct file file = {.kind = FILE_MAPS};
	char line[128];

	kernel_point();
	if (q->query_addr >= KERNEL_ADDR(KERNEL_PAGES))
		return -ENOENT;
	if (q->query_addr > KERNEL_BASE) {
		file.pos = (unsigned int)((q->query_addr - KERNEL_BASE) / UFFD_PAGE);
		while (file.pos && kernel.page[file.pos].mapping &&
		       kernel.page[file.pos].mapping == kernel.page[file.pos - 1].mapping)
			file.pos--;
	}
	if (!read_maps(&file, line))
		return -ENOENT;
	sched_assert(sscanf(line, "%llx-%llx", &q->vma_start, &q->vma_end) == 2);
	return 0;
}

/* With the map lock. The first run of registered pages, or: is one not? */
static long scan_pages(struct hmmu_pm_scan *arg, unsigned int first, unsigned int n)
{
	struct hmmu_pm_region *region = (struct hmmu_pm_region *)arg->vec;
	unsigned int i = first, end = first + n;

	if (arg->flags & HMMU_PM_CHECK_WPASYNC) {
		for (; i < end; i++)
			if (kernel.page[i].mapping && !kernel.page[i].registered)
				return -EPERM;
		return 0;
	}
	while (i < end && !kernel.page[i].registered)
		i++;
	if (i == end)
		return 0;
	region->start = KERNEL_ADDR(i);
	while (i < end && kernel.page[i].registered)
		i++;
	region->end = KERNEL_ADDR(i);
	region->categories = HMMU_PM_WPALLOWED;
	return 1;
}

static long scan(struct hmmu_pm_scan *arg)
{
	unsigned int first, n;
	long ret;

	if (!kernel_range(arg->start, arg->end - arg->start, &first, &n))
		return 0;
	kernel_lock(&kernel.map_lock);
	ret = scan_pages(arg, first, n);
	kernel_unlock(&kernel.map_lock);
	return ret;
}

static long ask(const siginfo_t *info, unsigned int i, int sig)
{
	struct kernel_task *task = &kernel.task[i];
	siginfo_t question = *info;
	struct sigaction sa;

	kernel_point();
	if (task->gone)
		return -ESRCH;
	question.si_signo = sig;
	if (task->call) {
		if (task->asked == 4)
			return -EAGAIN;
		task->question[task->asked++] = question;
		return 0;
	}
	/* It is in user space: its handler runs, and all that it does is one store. */
	sigaction(sig, NULL, &sa);
	sa.sa_sigaction(sig, &question, NULL);
	return 0;
}

static long of_file(long nr, struct file *file, const long *a)
{
	switch (nr) {
	case SYS_read:
		return read_file(file, (char *)a[1]);
	case SYS_getdents64:
		return list_tasks((char *)a[1]);
	case SYS_lseek:
		return 0;
	case SYS_newfstatat:
		return stat_task((const char *)a[1], (struct stat *)a[2]);
	case SYS_close:
		file->kind = FILE_NONE;
		return 0;
	case SYS_ioctl:
		if (a[1] == (long)HMMU_PAGEMAP_SCAN)
			return scan((struct hmmu_pm_scan *)a[2]);
		return procmap((struct hmmu_procmap_query *)a[2]);
	default:
		return -ENOSYS;
	}
}

long kernel_proc(long nr, const long a[6])
{
	if (nr == SYS_openat)
		return open_file((const char *)a[1]);
	if (nr == SYS_rt_tgsigqueueinfo)
		return ask((const siginfo_t *)a[3], (unsigned int)a[1] - TID, (int)a[2]);
	if (nr == SYS_gettid)
		return TID + (kernel_self() - kernel.task);
	if (a[0] < NUMBERS || a[0] >= NUMBERS + FILES || !files[a[0] - NUMBERS].kind)
		return -ENOSYS;
	return of_file(nr, &files[a[0] - NUMBERS], a);
}
