/* SPDX-License-Identifier: MIT */
/*
 * watch.h - `hmmu watch`: the watcher.
 *
 *	spawn.c		the command: found, started, its signals, its exit status
 *	inspect.c	what preloading will miss, said before it starts
 *	shared.c	the memory shared with the programs: slots, rings, drained
 *	process.c	the processes: they come, exec, end; their mappings
 *	missed.c	processes that run unwatched
 *	stacks.c	copied stacks -> call sites
 *	unwind.c	one stack, by libdw
 *	store.c		the events, where somebody wants them one by one
 *	whatif.c	what a registration cache would have suffered
 *	report.c json.c live.c export.c	 what is shown and written
 *
 * One thread. It looks into the rings every few milliseconds: the programs cannot wake it
 * without a system call, and they make none.
 */
#ifndef HMMU_WATCH_H
#define HMMU_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../watch_module/layout.h"

#define WATCH_FRAMES 64u

struct watch_options {
	char **command;
	const char *output; /* -o */
	const char *record;
	bool json;
	bool live;
	bool events;	     /* each of them */
	bool until_exit;     /* the command's, not the last process's */
	uint64_t what_if;    /* 0: not asked */
	unsigned int top;    /* call sites shown */
	unsigned int buffer; /* events per process */
	unsigned int window; /* bytes of stack */
};

struct watch_count {
	uint64_t calls; /* without second ranges */
	uint64_t ranges;
	uint64_t bytes;	 /* of ranges whose end is known */
	uint64_t failed; /* calls */
};

/* A frame is a text, interned: "file\taddress in the file", or words (resolve.c). */

/* A way to a call: equal frames of one process. */
struct watch_site {
	uint32_t process; /* index */
	uint32_t nr_frames;
	const char **frames; /* interned texts, innermost first */
	bool cut;	     /* there may be more */
	struct watch_count op[WATCH_OP_NR];
	struct watch_count all;
	uint64_t hit, again; /* --what-if: registrations, bytes */
};

/* A stack number of a process: its copy until it is unwound, its counts until then. */
struct watch_stack {
	void *copy;
	uint32_t size;
	uint32_t site; /* 1 + index; 0: not yet */
	uint64_t caller;
	bool cut;
	struct watch_count op[WATCH_OP_NR];
};

struct watch_image; /* unwind.c: a process's modules */

struct watch_process {
	uint32_t index;
	pid_t pid, ppid;
	uint32_t slot; /* WATCH_SLOTS: it has left it */
	int pidfd;
	bool ended, execed;
	enum watch_how how;
	int error; /* hmmu_mm_open()'s */
	uint64_t born, setup, ended_tsc;
	char comm[17];
	char args[257];
	char exe[256]; /* as it was when it came */
	char *maps;    /* the last text */
	size_t maps_size;
	bool maps_new; /* not in image yet */
	struct watch_image *image;
	/* By number; those of events without a copied stack follow, by caller. */
	uint32_t *where; /* 1 + index in stacks */
	struct watch_stack *stacks;
	uint32_t nr_stacks, room_stacks;
	uint32_t *queue; /* numbers to unwind */
	uint32_t nr_queue, at_queue, room_queue;
	struct watch_count op[WATCH_OP_NR];
	struct watch_count all;
	uint64_t call_tsc, hook_tsc;
	uint64_t dropped, no_stack, cut_stacks, lost;
	uint64_t last_head;	 /* when its mappings were looked at last */
	unsigned int suspicious; /* looks in which it was another program */
};

struct watch_stored {
	uint64_t tsc, start, end, caller;
	uint32_t process, stack, tid, detail, call_tsc, hook_tsc;
	uint8_t op, flags;
};

struct watch_missed {
	pid_t pid;
	unsigned int seen;
	char comm[17];
	char why[96];
};

struct watch {
	struct watch_options options;
	const char *name; /* the command's file, as found */
	FILE *out;	  /* the report goes there */
	pid_t child;
	bool child_ended;
	int status;	  /* wait()'s */
	bool told_to_end; /* a signal: report and leave */
	int fd;		  /* the shared memory */
	struct watch_header *header;
	struct watch_region *region[WATCH_SLOTS]; /* mapped */
	struct watch_process *at[WATCH_SLOTS];	  /* whose slot */
	double orphaned[WATCH_SLOTS]; /* claimed, and the claimer dead since; 0: not so */
	struct watch_process **processes;
	uint32_t nr_processes, room_processes;
	struct watch_site *sites;
	uint32_t nr_sites, room_sites;
	uint32_t *site_table; /* by hash */
	uint32_t site_mask;
	struct watch_stored *stored;
	uint64_t nr_stored, room_stored;
	struct watch_missed *missed;
	uint32_t nr_missed;
	uint64_t begun_tsc, ended_tsc;
	double begun, ended;		    /* seconds */
	double tsc_rate;		    /* per second */
	uint64_t out_of_memory;		    /* events that could not be kept */
	uint64_t registrations, hit, again; /* --what-if */
};

double watch_seconds(void);
/* Memory that the watcher cannot do without: ends it with a word. */
void *watch_alloc(size_t n, size_t size);
void *watch_grow(void *p, uint64_t *room, uint64_t need, size_t size);
const char *watch_intern(const char *text);

/* spawn.c */
int watch_find_command(const char *name, char *path, size_t size);
int watch_spawn(struct watch *w, const char *path, const char *module);
int watch_signals(void); /* a signalfd */
void watch_on_signals(struct watch *w, int fd);
int watch_exit(const struct watch *w);
int watch_find_module(char *path, size_t size);

/* inspect.c: NULL, or why preloading does not reach this file */
const char *watch_unreachable(const char *path);

/* shared.c */
int watch_shared_open(struct watch *w);
bool watch_drain(struct watch *w); /* true: there was something */
void watch_drain_one(struct watch *w, struct watch_process *p);
void watch_slot_free(struct watch *w, uint32_t slot);
void watch_code_publish(struct watch *w, struct watch_process *p);

/* process.c */
struct watch_process *watch_process_new(struct watch *w, uint32_t slot);
void watch_process_maps(struct watch *w, struct watch_process *p, const char *text,
			size_t size);
void watch_processes_look(struct watch *w);
bool watch_processes_alive(const struct watch *w);
void watch_process_end(struct watch *w, struct watch_process *p);

/* missed.c */
void watch_missed_look(struct watch *w);

/* stacks.c */
void watch_count(struct watch_count *c, const struct watch_event *e);
void watch_count_add(struct watch_count *to, const struct watch_count *from);
void watch_stack_event(struct watch *w, struct watch_process *p, struct watch_event *e);
void watch_stack_copied(struct watch *w, struct watch_process *p, uint32_t number,
			const void *copy, uint32_t size);
/* Unwinds for at most @seconds; true: nothing is left. */
bool watch_stacks_unwind(struct watch *w, double seconds);
void watch_stacks_settle(struct watch *w);
/* 1 + index; 0: not known */
uint32_t watch_site_of(const struct watch *w, uint32_t process, uint32_t stack);

/* unwind.c */
unsigned int watch_unwind(struct watch_process *p, const struct watch_stack *stack,
			  const char **frames, unsigned int n, bool *whole);
void watch_image_free(struct watch_process *p);
extern const bool watch_can_unwind;

/* resolve.c: frames as they are shown, with file:line where there is debug information.
 * The first looks up many at once. */
void watch_resolve_ahead(void); /* once, when the command has been started */
void watch_resolve(const struct watch *w, const uint32_t *order, uint32_t n, uint32_t frames);
const char *watch_frame_text(const char *frame);
#define WATCH_SHOWN_FRAMES 12u

/* store.c */
void watch_store(struct watch *w, const struct watch_process *p, const struct watch_event *e);
void watch_store_sort(struct watch *w);

/* whatif.c */
int watch_what_if(struct watch *w);

/* names and figures for all reports: text.c */
extern const char *const watch_op_names[WATCH_OP_NR];
const char *watch_size(uint64_t bytes, char *text, size_t n);
void watch_operation(const struct watch_stored *e, char *text, size_t n);
double watch_tsc_seconds(const struct watch *w, uint64_t tsc);
uint32_t *watch_sites_sorted(const struct watch *w, bool what_if, uint32_t *n);

/* report.c, json.c, export.c: 0 or -1 and it was said */
void watch_report(const struct watch *w, FILE *out);
int watch_json(const struct watch *w, FILE *out);
int watch_export(const struct watch *w, const char *path);

/* live.c */
struct watch_live;
struct watch_live *watch_live_open(void);
void watch_live_draw(struct watch_live *l, const struct watch *w);
bool watch_live_poll(struct watch_live *l); /* false: quit */
void watch_live_close(struct watch_live *l);

#endif /* HMMU_WATCH_H */
