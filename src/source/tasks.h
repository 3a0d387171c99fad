/* SPDX-License-Identifier: MIT */
/*
 * tasks.h - the threads of this process, none that lives missed.
 *
 * Reading /proc/self/task is not enough. The kernel goes from thread to thread; when the one
 * that it is at ends, it finds no next one, and the answer stops there. Asked again, it goes on
 * by position, and those behind have moved up by one: the first of them is never shown.
 *
 *	who lists			a thread E, listed before T
 *	---------			---------------------------
 *	visits E, shows it (or not: it
 *	ends already)
 *					ends
 *	next of E: none. The answer is over, without T
 *
 * (Measured on Linux 6.18, two threads that start others all the time: T is missing in 1 of
 * 100.)
 *
 * So the whole directory is read by one call, and believed if nobody ended under it:
 *
 *	the last one's d_off is how many places were visited. More than were shown: the kernel
 *	came to one that ended just then, and stopped
 *	the last one shown is alive afterwards, the same one (its inode): then it was when the
 *	kernel looked for its next, and there was none
 *
 * A thread that lived all the time is behind each thread before it that was alive when left,
 * and so was visited.
 *
 * Context: may sleep; no malloc (it maps where 4 KiB do not do). One user at a time.
 */
#ifndef HMMU_SOURCE_TASKS_H
#define HMMU_SOURCE_TASKS_H

#include <stddef.h>
#include <stdint.h>

/* The kernel's struct linux_dirent64. */
struct hmmu_task {
	uint64_t ino; /* the user's, once the list is complete */
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
} __attribute__((may_alias));

struct hmmu_tasks {
	int dir;     /* /proc/self/task, or -1 */
	size_t n;    /* bytes of the list */
	size_t size; /* of buf; 0: first[] */
	char *buf;
	char first[4096] __attribute__((aligned(8)));
};

/* 0, or -errno: EACCES, ENOENT without /proc, EMFILE, ENFILE, ENOMEM. */
int hmmu_tasks_open(struct hmmu_tasks *t);
void hmmu_tasks_close(struct hmmu_tasks *t);

/* 0: each thread that has lived since before the call is in the list, and perhaps others.
 * -EAGAIN: not sure, as one ended meanwhile: again. -ENOMEM, -EIO: not to be had now. */
int hmmu_tasks_list(struct hmmu_tasks *t);

/* The one after @prev (NULL: the first), or NULL. */
struct hmmu_task *hmmu_tasks_next(struct hmmu_tasks *t, const struct hmmu_task *prev);
int hmmu_task_id(const struct hmmu_task *task);

/* Its file @name ("/stat") into @buf, ended: bytes or -errno (ENOENT, ESRCH: it is gone). */
long hmmu_task_read(const struct hmmu_tasks *t, int id, const char *name, char *buf,
		    size_t size);

/* @to, of so many bytes: @before, @number (not negative), @after. */
#define HMMU_PROC_NAME 48
void hmmu_proc_name(char *to, const char *before, int number, const char *after);

/* The number at *p, and past it; blanks before it are skipped. */
unsigned long hmmu_number(const char **p);

#endif /* HMMU_SOURCE_TASKS_H */
