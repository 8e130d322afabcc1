/** What the bench uses of autocannon 9, which brings no types: https://github.com/mcollina/autocannon#api */

declare module "autocannon" {
  export interface AutocannonRequest {
    method?: string;
    path?: string;
    headers?: Record<string, string>;
    body?: string;
    setupRequest?: (request: AutocannonRequest, context: Record<string, unknown>) => AutocannonRequest;
    onResponse?: (status: number, body: string, context: Record<string, unknown>) => void;
  }
  export interface AutocannonOptions {
    url: string;
    connections: number;
    /** Requests in all. */
    amount: number;
    /** Seconds until a request counts as failed. */
    timeout: number;
    requests: AutocannonRequest[];
  }
  export interface AutocannonResult {
    errors: number;
    timeouts: number;
  }
  function autocannon(options: AutocannonOptions): PromiseLike<AutocannonResult>;

  // biome-ignore lint/style/noDefaultExport: it is what a CommonJS module's exports are called here
  export { autocannon as default };
}
