import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ApiError, completeTask, createTask, deleteTask, editTask, listTasks } from "./tasks";
import type { Status, Task, TaskCreate, TaskUpdate } from "./tasks";

/** Retries what may work later: a request without an answer, which is a TypeError, or an error of the server. */
const retry = (failures: number, error: Error) =>
  failures < 2 && (error instanceof ApiError ? error.status >= 500 : error instanceof TypeError);

/** Fetches the tasks again when a mutation has ended, whatever its answer. */
function useRefresh() {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: ["tasks"] });
}

export function useTasks(status: Status) {
  return useQuery({ queryKey: ["tasks", status], queryFn: () => listTasks(status), retry });
}

export function useCreateTask() {
  // A key belongs to a task and not to an attempt, so the retries create no second task.
  const mutationFn = ({ key, ...fields }: TaskCreate & { key: string }) => createTask(fields, key);
  return useMutation({ mutationFn, retry, onSettled: useRefresh() });
}

export function useToggleTask(status: Status) {
  const client = useQueryClient();
  const queryKey = ["tasks", status];
  return useMutation({
    mutationFn: ({ id, completed }: Task) => completeTask(id, !completed),
    onMutate: async (toggled) => {
      await client.cancelQueries({ queryKey });
      const before = client.getQueryData<Task[]>(queryKey);
      const flip = (task: Task) => (task.id === toggled.id ? { ...task, completed: !toggled.completed } : task);
      client.setQueryData<Task[]>(queryKey, (tasks) => tasks?.map(flip));
      return { before };
    },
    onError: (_error, _task, context) => client.setQueryData(queryKey, context?.before),
    onSettled: useRefresh(),
  });
}

export function useEditTask() {
  const mutationFn = ({ id, ...fields }: TaskUpdate & { id: number }) => editTask(id, fields);
  return useMutation({ mutationFn, onSettled: useRefresh() });
}

export function useDeleteTask() {
  return useMutation({ mutationFn: ({ id }: Task) => deleteTask(id), onSettled: useRefresh() });
}
