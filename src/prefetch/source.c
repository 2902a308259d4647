/*-------------------------------------------------------------------------
 *
 * source.c
 *		Marks where the source of an INSERT begins.
 *
 * Other extensions put nodes of theirs between a ModifyTable and the rows that
 * it inserts (TimescaleDB's ChunkDispatch finds the chunk of each row), and
 * nodes of theirs are in the source, too.  The finished plan does not tell
 * which are which: those above have effects, and may count on what is below
 * them only where they have put it there themselves.  So a mark goes in before
 * their hooks see the path.  Who puts a node above that can take any; and what
 * is below was there for a query that reads.  The planner hook takes the mark
 * out again (plan.c).  Where their hook comes before ours there is no mark, and
 * calls stay serial.
 *
 * The mark is a prefetch node without calls, which passes rows through: were
 * it left in a plan that an extension keeps out of sight, it would do no harm.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"

#include "base/settings.h"
#include "prefetch/calls.h"
#include "prefetch/columns.h"
#include "prefetch/node.h"
#include "prefetch/scan.h"
#include "prefetch/source.h"
#include "prefetch/walk.h"

bool		rstar_source_marked = false;

static create_upper_paths_hook_type prev_create_upper_paths_hook = NULL;

static void create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
							   RelOptInfo *output_rel, void *extra);
static bool has_calls(Node *node, void *context);
static Path *make_mark(RelOptInfo *rel, Path *source);
static Plan *plan_mark(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
					   List *clauses, List *custom_plans);

static const CustomPathMethods mark_methods = {
	.CustomName = RSTAR_NODE_NAME,
	.PlanCustomPath = plan_mark
};

void
rstar_source_init(void)
{
	prev_create_upper_paths_hook = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}

static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
				   RelOptInfo *output_rel, void *extra)
{
	ListCell   *lc;

	if (stage == UPPERREL_FINAL && rstar_prefetch && root->parse->commandType == CMD_INSERT &&
		!rstar_walk_inserts_values(root->parse) && has_calls((Node *) root->parse, NULL))
	{
		foreach(lc, output_rel->pathlist)
		{
			ModifyTablePath *modify = lfirst(lc);

			if (IsA(modify, ModifyTablePath))
				modify->subpath = make_mark(output_rel, modify->subpath);
		}
	}
	if (prev_create_upper_paths_hook)
		prev_create_upper_paths_hook(root, stage, input_rel, output_rel, extra);
}

/* Functions have been inlined by now, subqueries planned */
static bool
has_calls(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_calls, context, 0);
	return rstar_calls_is_score(node) || rstar_calls_is_set(node) ||
		expression_tree_walker(node, has_calls, context);
}

/* It belongs to no relation whose conditions could be checked once more */
static Path *
make_mark(RelOptInfo *rel, Path *source)
{
	CustomPath *mark = makeNode(CustomPath);

	rstar_source_marked = true;
	mark->path = *source;
	mark->path.type = T_CustomPath;
	mark->path.pathtype = T_CustomScan;
	mark->path.parent = rel;
	mark->path.parallel_aware = false;
	mark->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	mark->custom_paths = list_make1(source);
	mark->methods = &mark_methods;
	return &mark->path;
}

static Plan *
plan_mark(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
		  List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &rstar_scan_methods;
	scan->flags = path->flags;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.lefttree = linitial(custom_plans);
	scan->custom_scan_tlist = copyObject(tlist);
	scan->custom_private = list_make1(list_make4_int(RSTAR_READ_PART, 0, false, false));
	return &scan->scan.plan;
}

bool
rstar_source_is_mark(const Plan *plan)
{
	return rstar_node_is_prefetch(plan) && list_length(((const CustomScan *) plan)->custom_private) == 1;
}

Plan *
rstar_source_unmark(Plan *mark)
{
	/* the names of an INSERT's columns were given to it */
	rstar_columns_copy_names(mark->lefttree->targetlist, mark->targetlist);
	return mark->lefttree;
}
