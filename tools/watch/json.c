// SPDX-License-Identifier: MIT
/* json.c - --json: the whole report as one document, by cJSON. The man page has its form. */
#include "watch.h"

#ifdef HMMU_CJSON
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <sys/wait.h>

static bool number(cJSON *o, const char *name, uint64_t value)
{
	return cJSON_AddNumberToObject(o, name, (double)value);
}

static cJSON *add_object(cJSON *array)
{
	cJSON *o = cJSON_CreateObject();

	if (o && !cJSON_AddItemToArray(array, o)) {
		cJSON_Delete(o);
		return NULL;
	}
	return o;
}

static bool add_counts(cJSON *o, const struct watch_count *op)
{
	cJSON *all = cJSON_AddObjectToObject(o, "operations");

	for (unsigned int i = 0; all && i < WATCH_OP_NR; i++) {
		cJSON *one;

		if (!op[i].ranges)
			continue;
		one = cJSON_AddObjectToObject(all, watch_op_names[i]);
		if (!one || !number(one, "calls", op[i].calls) ||
		    !number(one, "ranges", op[i].ranges) ||
		    !number(one, "bytes", op[i].bytes) || !number(one, "failed", op[i].failed))
			return false;
	}
	return all;
}

static bool add_process(const struct watch *w, cJSON *array, const struct watch_process *p)
{
	cJSON *o = add_object(array);

	return o && number(o, "pid", (uint64_t)p->pid) &&
	       number(o, "parent", (uint64_t)p->ppid) &&
	       cJSON_AddStringToObject(o, "command", p->comm) &&
	       cJSON_AddStringToObject(o, "arguments", p->args) &&
	       cJSON_AddStringToObject(o, "began", p->how == WATCH_FORKED ? "fork" : "exec") &&
	       cJSON_AddStringToObject(o, "ended",
				       !p->ended ? "runs" : (p->execed ? "exec" : "exit")) &&
	       cJSON_AddNumberToObject(o, "born",
				       watch_tsc_seconds(w, p->born - w->begun_tsc)) &&
	       number(o, "error", (uint64_t)-p->error) && number(o, "calls", p->all.calls) &&
	       number(o, "bytes", p->all.bytes) && number(o, "dropped", p->dropped) &&
	       number(o, "without_stack", p->no_stack) &&
	       cJSON_AddNumberToObject(o, "hook_seconds", watch_tsc_seconds(w, p->hook_tsc)) &&
	       cJSON_AddNumberToObject(o, "call_seconds", watch_tsc_seconds(w, p->call_tsc)) &&
	       cJSON_AddNumberToObject(o, "start_seconds", watch_tsc_seconds(w, p->setup)) &&
	       add_counts(o, p->op);
}

static bool add_site(const struct watch *w, cJSON *array, const struct watch_site *s)
{
	cJSON *o = add_object(array), *frames;

	if (!o || !number(o, "process", s->process) || !number(o, "calls", s->all.calls) ||
	    !number(o, "bytes", s->all.bytes) || !add_counts(o, s->op) ||
	    !cJSON_AddBoolToObject(o, "whole", !s->cut))
		return false;
	if (w->options.what_if &&
	    (!number(o, "invalidated", s->hit) || !number(o, "registered_again", s->again)))
		return false;
	frames = cJSON_AddArrayToObject(o, "frames");
	for (uint32_t i = 0; frames && i < s->nr_frames; i++) {
		cJSON *text = cJSON_CreateString(watch_frame_text(s->frames[i]));

		if (!text || !cJSON_AddItemToArray(frames, text))
			return false;
	}
	return frames;
}

static bool add_event(const struct watch *w, cJSON *array, const struct watch_stored *e)
{
	cJSON *o = add_object(array);
	char name[64], start[32], end[32];
	uint32_t site = watch_site_of(w, e->process, e->stack);

	watch_operation(e, name, sizeof(name));
	/* Addresses are texts: a double does not hold all of them. */
	snprintf(start, sizeof(start), "0x%llx", (unsigned long long)e->start);
	snprintf(end, sizeof(end), "0x%llx", (unsigned long long)e->end);
	return o &&
	       cJSON_AddNumberToObject(o, "time",
				       watch_tsc_seconds(w, e->tsc - w->begun_tsc)) &&
	       number(o, "process", e->process) && number(o, "thread", e->tid) &&
	       cJSON_AddStringToObject(o, "operation", name) &&
	       cJSON_AddStringToObject(o, "start", start) &&
	       cJSON_AddStringToObject(o, "end", end) && number(o, "detail", e->detail) &&
	       cJSON_AddBoolToObject(o, "second", e->flags & WATCH_SECOND) &&
	       cJSON_AddBoolToObject(o, "failed", e->flags & WATCH_FAILED) &&
	       cJSON_AddNumberToObject(o, "call_seconds", watch_tsc_seconds(w, e->call_tsc)) &&
	       cJSON_AddNumberToObject(o, "site", (double)site - 1);
}

static bool add_ends(cJSON *root, const struct watch *w)
{
	cJSON *command = cJSON_AddArrayToObject(root, "command");

	for (char **arg = w->options.command; command && *arg; arg++)
		cJSON_AddItemToArray(command, cJSON_CreateString(*arg));
	if (!command || !number(root, "version", 1) ||
	    !cJSON_AddNumberToObject(root, "seconds", w->ended - w->begun))
		return false;
	if (WIFSIGNALED(w->status))
		return number(root, "signal", (uint64_t)WTERMSIG(w->status));
	return number(root, "exit", (uint64_t)WEXITSTATUS(w->status));
}

static bool add_missed(cJSON *root, const struct watch *w)
{
	cJSON *array = cJSON_AddArrayToObject(root, "missed");

	for (uint32_t i = 0; array && i < w->nr_missed; i++) {
		cJSON *o;

		if (w->missed[i].seen < 2)
			continue;
		o = add_object(array);
		if (!o || !number(o, "pid", (uint64_t)w->missed[i].pid) ||
		    !cJSON_AddStringToObject(o, "command", w->missed[i].comm) ||
		    !cJSON_AddStringToObject(o, "why", w->missed[i].why))
			return false;
	}
	return array && number(root, "missed_no_room", w->header->missed);
}

static bool add_what_if(cJSON *root, const struct watch *w)
{
	cJSON *o;

	if (!w->options.what_if)
		return true;
	o = cJSON_AddObjectToObject(root, "what_if");
	return o && number(o, "size", w->options.what_if) &&
	       number(o, "registrations", w->registrations) &&
	       number(o, "invalidated", w->hit) && number(o, "registered_again", w->again);
}

static bool build(cJSON *root, const struct watch *w)
{
	uint64_t dropped = 0;
	cJSON *processes, *sites, *events;
	bool good = add_ends(root, w) && add_missed(root, w) && add_what_if(root, w);

	processes = cJSON_AddArrayToObject(root, "processes");
	sites = cJSON_AddArrayToObject(root, "sites");
	good = good && processes && sites;
	for (uint32_t i = 0; good && i < w->nr_processes; i++) {
		good = add_process(w, processes, w->processes[i]);
		dropped += w->processes[i]->dropped;
	}
	good = good && number(root, "dropped", dropped);
	watch_resolve(w, NULL, w->nr_sites, WATCH_FRAMES);
	for (uint32_t i = 0; good && i < w->nr_sites; i++)
		good = add_site(w, sites, &w->sites[i]);
	events = good && w->options.events ? cJSON_AddArrayToObject(root, "events") : NULL;
	for (uint64_t i = 0; good && events && i < w->nr_stored; i++)
		if (!(w->stored[i].flags & WATCH_CREATES))
			good = add_event(w, events, &w->stored[i]);
	return good;
}

int watch_json(const struct watch *w, FILE *out)
{
	cJSON *root = cJSON_CreateObject();
	char *text = NULL;

	if (root && build(root, w))
		text = cJSON_Print(root);
	if (text)
		fprintf(out, "%s\n", text);
	else
		fputs("hmmu watch: --json: out of memory\n", stderr);
	cJSON_free(text);
	cJSON_Delete(root);
	return text ? 0 : -1;
}
#else
int watch_json(const struct watch *w, FILE *out)
{
	fputs("hmmu watch: --json: this hmmu was built without libcjson\n", stderr);
	return -1;
}
#endif
