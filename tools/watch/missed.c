// SPDX-License-Identifier: MIT
/*
 * missed.c - processes of the tree that run and are not watched, found from outside: the
 * children of watched processes that never came, and watched ones that have become
 * another program without coming again. What ends between two looks is not seen.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch.h"

#define LOOKS 2 /* that agree: one may meet it between exec and the module */

static bool watched(const struct watch *w, pid_t pid)
{
	for (uint32_t i = 0; i < WATCH_SLOTS; i++)
		if (w->at[i] && w->at[i]->pid == pid)
			return true;
	for (uint32_t i = 0; i < WATCH_SLOTS; i++)
		if (w->header->slot[i].state && w->header->slot[i].pid == (uint32_t)pid)
			return true;
	return false;
}

static void explain(struct watch_missed *m)
{
	char path[64];
	const char *why;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/exe", m->pid);
	why = watch_unreachable(path);
	snprintf(m->why, sizeof(m->why), "%s",
		 why ? why : "it was started without the environment that loads the module");
	snprintf(path, sizeof(path), "/proc/%d/comm", m->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(m->comm, sizeof(m->comm), f))
		m->comm[strcspn(m->comm, "\n")] = '\0';
	fclose(f);
}

static void suspect(struct watch *w, pid_t pid)
{
	uint64_t room = w->nr_missed;
	struct watch_missed *m = NULL;

	for (uint32_t i = 0; i < w->nr_missed && !m; i++)
		if (w->missed[i].pid == pid)
			m = &w->missed[i];
	if (!m) {
		w->missed = watch_grow(w->missed, &room, w->nr_missed + 1, sizeof(*m));
		m = &w->missed[w->nr_missed++];
		memset(m, 0, sizeof(*m));
		m->pid = pid;
	}
	if (m->seen < LOOKS && ++m->seen == LOOKS)
		explain(m);
}

static void look_at_children(struct watch *w, pid_t pid, const char *tid)
{
	char path[300];
	int child;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fscanf(f, "%d", &child) == 1)
		if (!watched(w, child))
			suspect(w, child);
	fclose(f);
}

static void look_at_program(struct watch *w, struct watch_process *p)
{
	char path[64], exe[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", p->pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0 || !p->exe[0])
		return;
	exe[n] = '\0';
	if (strcmp(exe, p->exe) != 0)
		suspect(w, p->pid);
}

void watch_missed_look(struct watch *w)
{
	if (!w->nr_processes && w->child > 0 && !w->child_ended && !watched(w, w->child))
		suspect(w, w->child);
	for (uint32_t i = 0; i < WATCH_SLOTS; i++) {
		struct watch_process *p = w->at[i];
		struct dirent *e;
		char path[64];
		DIR *d;

		if (!p || p->ended)
			continue;
		look_at_program(w, p);
		snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
		d = opendir(path);
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.')
				look_at_children(w, p->pid, e->d_name);
		if (d)
			closedir(d);
	}
}
